"""Models of the five families as llama.cpp's convert_hf_to_gguf.py writes them: metadata from
config.json, and tensors under GGUF's names, GPT-2's matrices turned, Llama's heads interleaved."""
import math

import gguf
import numpy as np

ARCHITECTURES = {"llama": gguf.MODEL_ARCH.LLAMA, "mistral": gguf.MODEL_ARCH.LLAMA,
                 "gpt2": gguf.MODEL_ARCH.GPT2, "qwen2": gguf.MODEL_ARCH.QWEN2,
                 "phi3": gguf.MODEL_ARCH.PHI3}
CONV1D = (".c_attn.weight", ".c_proj.weight", ".c_fc.weight")


def add_gpt2(writer, config):
    writer.add_context_length(config["n_positions"])
    writer.add_embedding_length(config["n_embd"])
    writer.add_block_count(config["n_layer"])
    writer.add_feed_forward_length(config.get("n_inner") or 4 * config["n_embd"])
    writer.add_head_count(config["n_head"])
    writer.add_layer_norm_eps(config["layer_norm_epsilon"])


def add_rotary(writer, config):
    """llama, mistral and qwen2."""
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    head_dim = config.get("head_dim")
    if head_dim:
        writer.add_key_length(head_dim)
        writer.add_value_length(head_dim)
        writer.add_rope_dimension_count(head_dim)
    writer.add_rope_freq_base(config["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    scaling = config.get("rope_scaling")
    if scaling:
        writer.add_rope_scaling_type(gguf.RopeScalingType(scaling["type"]))
        writer.add_rope_scaling_factor(scaling["factor"])
        if scaling["type"] == "yarn":
            writer.add_rope_scaling_orig_ctx_len(scaling["original_max_position_embeddings"])
            writer.add_rope_scaling_yarn_beta_fast(scaling["beta_fast"])


def add_phi3(writer, config):
    positions = config["max_position_embeddings"]
    original = config.get("original_max_position_embeddings", positions)
    rotated = int(config.get("partial_rotary_factor", 1.0) * config["hidden_size"])
    writer.add_context_length(positions)
    writer.add_rope_scaling_orig_ctx_len(original)
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_dimension_count(rotated // config["num_attention_heads"])
    writer.add_rope_freq_base(config["rope_theta"])
    writer.add_sliding_window(config.get("sliding_window") or 0)
    scaling = config.get("rope_scaling")
    if scaling:
        scale = positions / original
        writer.add_rope_scaling_attn_factors(
            math.sqrt(1 + math.log(scale) / math.log(original)) if scale > 1 else 1.0)
        for kind in ("long", "short"):
            writer.add_tensor(f"rope_factors_{kind}.weight",
                              np.array(scaling[f"{kind}_factor"], np.float32))


def interleave(weights, n_heads):
    """LlamaModel.permute."""
    return (weights.reshape(n_heads, 2, weights.shape[0] // n_heads // 2, *weights.shape[1:])
            .swapaxes(1, 2).reshape(weights.shape))


def as_stored(name, values, config):
    if config["model_type"] == "gpt2" and name.endswith(CONV1D):
        return np.ascontiguousarray(values.T)
    if config["model_type"] in ("llama", "mistral"):
        if name.endswith(("q_proj.weight", "q_proj.bias")):
            return interleave(values, config["num_attention_heads"])
        if name.endswith(("k_proj.weight", "k_proj.bias")):
            return interleave(values, config["num_key_value_heads"])
    return values


def write_gguf(path, config, tensors, is_half=lambda name: False, add_more=lambda writer: None):
    """Tensors {checkpoint's name: f32}; is_half says which become F16; add_more adds fields and
    tensors behind the metadata of the architecture."""
    arch = ARCHITECTURES[config["model_type"]]
    writer = gguf.GGUFWriter(path, gguf.MODEL_ARCH_NAMES[arch])
    {"gpt2": add_gpt2, "phi3": add_phi3}.get(config["model_type"], add_rotary)(writer, config)
    add_more(writer)
    n_layers = config.get("num_hidden_layers") or config["n_layer"]
    names = gguf.get_tensor_name_map(arch, n_layers)
    for name, values in tensors.items():
        values = as_stored(name, values, config)
        writer.add_tensor(names.get_name(name, try_suffixes=(".weight", ".bias")),
                          values.astype(np.float16) if is_half(name) else values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()

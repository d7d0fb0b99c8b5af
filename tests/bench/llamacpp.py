"""llama.cpp by llama-cpp-python's low-level calls: what its benches share.

    CMAKE_ARGS="-DGGML_NATIVE=ON -DGGML_OPENMP=ON" pip install --no-binary llama-cpp-python llama-cpp-python numpy

A program that imports this ends with 77 where it is not there."""
import ctypes
import os
import sys

try:
    import llama_cpp as llama
    import numpy
except ImportError:
    print("skipped: needs llama_cpp and numpy", file=sys.stderr)
    sys.exit(77)

TYPES = {"f32": 0, "f16": 1, "q8_0": 7, "bf16": 32}  # llama_ftype

llama.llama_backend_init()
_quiet = llama.llama_log_callback(lambda level, text, user: None)
llama.llama_log_set(_quiet, ctypes.c_void_p(0))


def of_type(model, name, folder, threads):
    """The path of the model in a type: made by llama_model_quantize into the folder, unless it is there
    or `file`. From a smaller type its values are that type's, its speed is its own."""
    if name == "file":
        return model
    path = os.path.join(folder, "%s.%s.gguf" % (os.path.basename(model)[:-5], name))
    if not os.path.exists(path):
        params = llama.llama_model_quantize_default_params()
        params.ftype, params.nthread, params.allow_requantize = TYPES[name], threads, True
        if llama.llama_model_quantize(model.encode(), (path + ".part").encode(), ctypes.byref(params)):
            sys.exit("llamacpp: %s cannot be made" % path)
        os.rename(path + ".part", path)
    return path


class Session:
    """A model and a context for so many sequences of so many tokens, which reads batches of at most
    `batch` tokens, `ubatch` of them at once."""

    def __init__(self, path, threads, sequences, tokens, batch, ubatch):
        params = llama.llama_model_default_params()
        params.n_gpu_layers = 0
        self.model = llama.llama_model_load_from_file(path.encode(), params)
        context = llama.llama_context_default_params()
        context.n_ctx, context.n_seq_max = sequences * tokens, sequences
        context.n_batch, context.n_ubatch = batch, ubatch
        context.n_threads = context.n_threads_batch = threads
        self.context = self.model and llama.llama_init_from_model(self.model, context)
        if not self.context:
            sys.exit("llamacpp: %s cannot be loaded" % path)
        self.batch = llama.llama_batch_init(batch, 0, 1)
        self.memory = llama.llama_get_memory(self.context)
        self.n_vocab = llama.llama_vocab_n_tokens(llama.llama_model_get_vocab(self.model))

    def forget(self):
        llama.llama_memory_clear(self.memory, True)

    def read(self, tokens, positions, sequences, wanted):
        """A pass over tokens[i] at positions[i] of sequence sequences[i]; wanted[i]: with logits."""
        batch = self.batch
        batch.n_tokens = len(tokens)
        for i, token in enumerate(tokens):
            batch.token[i], batch.pos[i] = token, positions[i]
            batch.n_seq_id[i], batch.seq_id[i][0] = 1, sequences[i]
            batch.logits[i] = wanted[i]
        if llama.llama_decode(self.context, batch):
            sys.exit("llamacpp: llama_decode failed")
        llama.llama_synchronize(self.context)

    def likeliest(self, row):
        """The id of the greatest logit of that row of the last batch."""
        logits = llama.llama_get_logits_ith(self.context, row)
        return int(numpy.ctypeslib.as_array(logits, shape=(self.n_vocab,)).argmax())

"""How expectations are written and compared."""
import json

import torch


def write_json(path, members):
    """One member a line; a list of objects has one a line too."""
    def render(value):
        if isinstance(value, list) and value and isinstance(value[0], dict):
            return "[\n  " + ",\n  ".join(map(render, value)) + "]"
        return json.dumps(value, ensure_ascii=False)

    lines = [f" {json.dumps(key)}: {render(value)}" for key, value in members.items()]
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def rounded(values, digits=9):
    """Lists of numbers with as many digits as f32 holds."""
    if isinstance(values, torch.Tensor):
        values = values.tolist()
    if isinstance(values, list):
        return [rounded(v, digits) for v in values]
    return float(f"{values:.{digits}g}")


def relative_difference(a, b):
    return ((a.double() - b.double()).norm() / b.double().norm().clamp_min(1e-300)).item()

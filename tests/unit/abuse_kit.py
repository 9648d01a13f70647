"""Settings that were made to do harm, by code: they ask a loader to run or fetch code."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path


def settings_that_run_code() -> Iterator[tuple[str, dict]]:
    """File and keys of settings that ask a loader to run or fetch code."""
    for name in ("config.json", "tokenizer_config.json"):
        for key in ("AutoModel", "AutoConfig", "AutoTokenizer", "AutoModelForSequenceClassification"):
            yield name, {"auto_map": {key: "evil.Evil"}}
        yield name, {"auto_map": {"AutoModel": "someone/repository--evil.Evil"}}
        yield name, {"auto_map": {"AutoTokenizer": ["evil.Evil", None]}}
        yield name, {"auto_map": "evil.Evil"}
        yield name, {"auto_map": [["AutoModel", "evil.Evil"]]}
        yield name, {"custom_pipelines": {"text-classification": {"impl": "evil.Evil", "pt": ["AutoModel"]}}}
        yield name, {"custom_generate": "someone/repository"}
        yield name, {"trust_remote_code": True}
        yield name, {"trust_remote_code": "yes"}
        yield name, {"trust_remote_code": 1}
        yield name, {"sub": {"deeper": [{"auto_map": {"AutoModel": "evil.Evil"}}]}}
        yield name, {"text_config": {"auto_map": {"AutoConfig": "evil.Evil"}}}
        for place in ("vision_config", "encoder", "decoder", "sub_configs", "quantization_config"):
            yield name, {place: {"auto_map": {"AutoModel": "evil.Evil"}}}
        yield name, {"auto_map": {"AutoModelForTokenClassification": "../evil.Evil"}}
        yield name, {"auto_map": {"AutoProcessor": "https://example.org/evil.Evil"}}
        yield name, {"auto_map": {"AutoConfig": "someone/repository@main--evil.Evil"}}
        yield name, {"experts": [[{"custom_generate": "evil"}]]}
        yield name, {"task": {"custom_pipelines": ["evil"]}}
        yield name, {"deep": {"trust_remote_code": None}}
    yield "config.json", {"attn_implementation": "someone/kernel"}
    yield "config.json", {"text_config": {"attn_implementation": "someone/kernel@main"}}
    yield "config.json", {"attn_implementation_internal": {"text": "someone/kernel"}}
    yield "config.json", {"_attn_implementation": {"": "someone/kernel:evil"}}
    yield "config.json", {"experts_implementation": "someone/kernel"}
    yield "config.json", {"transformers_weights": "pytorch_model.bin"}


def change_json(path: Path, changes: dict) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **changes}), encoding="utf-8")

"""SGLang imports this one name when it finds no CUDA; on CPU it is never called."""


def rotary_embedding(*args: object, **kwargs: object) -> None:
    raise NotImplementedError("vLLM's rotary_embedding kernel is not available on CPU")

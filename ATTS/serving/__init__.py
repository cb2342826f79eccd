"""SGLang over HTTP: the client, which server a request goes to, limits, tokenizers."""

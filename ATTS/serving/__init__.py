"""SGLang over HTTP: starting and watching servers, the client, tokenizers."""

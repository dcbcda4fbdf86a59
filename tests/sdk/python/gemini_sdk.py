"""The official Google Gen AI SDK, unchanged but for its base URL and key."""

from functools import cache

from common import KEYS, MODEL, QUESTION, URL, failure, report
from google import genai
from google.genai import types


@cache  # A client that nobody holds closes itself.
def client(key="good"):
    return genai.Client(api_key=KEYS[key], http_options=types.HttpOptions(base_url=URL))


def numbers(usage):
    return [
        usage.prompt_token_count,
        usage.candidates_token_count,
        usage.cached_content_token_count,
        usage.thoughts_token_count,
    ]


def generate():
    answer = client().models.generate_content(model=MODEL, contents=QUESTION)
    report("generate", text=answer.text, usage=numbers(answer.usage_metadata))


def stream():
    text, usage = "", None
    for chunk in client().models.generate_content_stream(model=MODEL, contents=QUESTION):
        text += chunk.text or ""
        usage = numbers(chunk.usage_metadata)
    report("stream", text=text, usage=usage)


def counting():
    report("count_tokens", tokens=client().models.count_tokens(model=MODEL, contents=QUESTION).total_tokens)


def embeddings():
    answer = client().models.embed_content(model=MODEL, contents=QUESTION)
    report("embeddings", vector=answer.embeddings[0].values)


def models():
    listed = [model.name for model in client().models.list(config={"query_base": True})]
    report("models", has_model=f"models/{MODEL}" in listed, one=client().models.get(model=MODEL).name)


def describe(error):
    body = getattr(error, "details", None) or {}
    inner = body.get("error", body) if isinstance(body, dict) else {}
    details = inner.get("details") or [{}]
    return {
        "status": getattr(error, "code", None),
        "code": details[0].get("reason") if isinstance(details[0], dict) else None,
        "type": getattr(error, "status", None),
    }


def ask(key="good", model=MODEL, contents=QUESTION):
    return lambda: client(key).models.generate_content(model=model, contents=contents)


def errors():
    failure("wrong_key", ask("wrong"), describe)
    failure("forbidden", ask("confined"), describe)
    failure("unpriced", ask(model="no-price-for-this"), describe)
    failure("missing_model", lambda: client().models.get(model="unheard-of"), describe)
    failure("over_budget", ask("broke"), describe)
    ask("slow")()
    failure("too_many", ask("slow"), describe)
    failure("too_large", ask(contents="x" * 300_000), describe)
    for status in (400, 404, 429, 500, 503):
        failure(f"upstream_{status}", ask(contents=f"status-{status}"), describe)
    failure("nobody_answers", ask(contents="hang-up"), describe)

    def broken_stream():
        for _ in client().models.generate_content_stream(model=MODEL, contents="break-off"):
            pass

    failure("broken_stream", broken_stream, describe)


generate()
stream()
counting()
embeddings()
models()
errors()

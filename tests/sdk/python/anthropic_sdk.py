"""The official Anthropic SDK, unchanged but for its base URL and key."""

from anthropic import Anthropic
from common import KEYS, MODEL, QUESTION, RETRIES, URL, failure, report


def client(key="good", **options):
    return Anthropic(base_url=URL, api_key=KEYS[key], max_retries=RETRIES.get(key, 0), **options)


MESSAGES = [{"role": "user", "content": QUESTION}]


def numbers(usage):
    return [usage.input_tokens, usage.output_tokens, usage.cache_read_input_tokens, usage.cache_creation_input_tokens]


def messages():
    answer = client().messages.create(model=MODEL, max_tokens=1000, messages=MESSAGES)
    report("messages", text=answer.content[0].text, usage=numbers(answer.usage), stop=answer.stop_reason)
    # The other way to give a key.
    by_token = Anthropic(base_url=URL, api_key=None, auth_token=KEYS["good"], max_retries=0)
    answer = by_token.messages.create(model=MODEL, max_tokens=1000, messages=MESSAGES)
    report("messages_by_token", text=answer.content[0].text)


def stream():
    text, final = "", None
    with client().messages.stream(model=MODEL, max_tokens=1000, messages=MESSAGES) as events:
        for piece in events.text_stream:
            text += piece
        final = events.get_final_message()
    report("stream", text=text, usage=numbers(final.usage), stop=final.stop_reason)
    kinds = [event.type for event in client().messages.create(model=MODEL, max_tokens=9, messages=MESSAGES, stream=True)]
    report("raw_stream", first=kinds[0], last=kinds[-1])


def counting():
    report("count_tokens", tokens=client().messages.count_tokens(model=MODEL, messages=MESSAGES).input_tokens)


def models():
    listed = [model.id for model in client().models.list()]
    report("models", has_model=MODEL in listed, one=client().models.retrieve(MODEL).id)


def describe(error):
    body = getattr(error, "body", None)
    inner = body.get("error", {}) if isinstance(body, dict) else {}
    return {"status": getattr(error, "status_code", None), "code": inner.get("code"), "type": inner.get("type")}


def ask(key="good", model=MODEL, **options):
    return lambda: client(key).messages.create(model=model, max_tokens=1000, messages=MESSAGES, **options)


def errors():
    failure("wrong_key", ask("wrong"), describe)
    failure("forbidden", ask("confined"), describe)
    failure("unpriced", ask(model="no-price-for-this"), describe)
    failure("missing_model", lambda: client().models.retrieve("unheard-of"), describe)
    failure("over_budget", ask("broke"), describe)
    ask("slow")()
    failure("too_many", ask("slow"), describe)
    failure("too_large", ask(system="x" * 300_000), describe)
    for status in (400, 404, 422, 429, 500, 529):
        failure(f"upstream_{status}", ask(metadata={"user_id": f"status-{status}"}), describe)
    failure("nobody_answers", ask(metadata={"user_id": "hang-up"}), describe)

    def broken_stream():
        for _ in ask(metadata={"user_id": "break-off"}, stream=True)():
            pass

    failure("broken_stream", broken_stream, describe)


messages()
stream()
counting()
models()
errors()

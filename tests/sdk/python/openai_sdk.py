"""The official OpenAI SDK, unchanged but for its base URL and key."""

from common import KEYS, MODEL, QUESTION, RETRIES, URL, failure, report
from openai import OpenAI


def client(key="good"):
    return OpenAI(base_url=f"{URL}/v1", api_key=KEYS[key], max_retries=RETRIES.get(key, 0))


MESSAGES = [{"role": "user", "content": QUESTION}]


def chat():
    answer = client().chat.completions.create(model=MODEL, messages=MESSAGES)
    usage = answer.usage
    report(
        "chat",
        text=answer.choices[0].message.content,
        usage=[
            usage.prompt_tokens,
            usage.completion_tokens,
            usage.prompt_tokens_details.cached_tokens,
            usage.completion_tokens_details.reasoning_tokens,
        ],
    )


def chat_stream(ask_for_usage):
    options = {"stream_options": {"include_usage": True}} if ask_for_usage else {}
    text, usage = "", []
    for chunk in client().chat.completions.create(model=MODEL, messages=MESSAGES, stream=True, **options):
        text += "".join(choice.delta.content or "" for choice in chunk.choices)
        if chunk.usage:
            usage.append([chunk.usage.prompt_tokens, chunk.usage.completion_tokens])
    report("chat_stream_with_usage" if ask_for_usage else "chat_stream", text=text, usage=usage)


def responses():
    answer = client().responses.create(model=MODEL, input=QUESTION)
    report("responses", text=answer.output_text, usage=[answer.usage.input_tokens, answer.usage.output_tokens])
    text, usage, kinds = "", None, []
    for event in client().responses.create(model=MODEL, input=QUESTION, stream=True):
        kinds.append(event.type)
        if event.type == "response.output_text.delta":
            text += event.delta
        if event.type == "response.completed":
            usage = [event.response.usage.input_tokens, event.response.usage.output_tokens]
    report("responses_stream", text=text, usage=usage, last=kinds[-1])


def embeddings():
    for form in ("float", None):
        options = {"encoding_format": form} if form else {}
        answer = client().embeddings.create(model=MODEL, input=QUESTION, **options)
        report(f"embeddings_{form or 'default'}", vector=list(answer.data[0].embedding), usage=answer.usage.prompt_tokens)


def models():
    listed = [model.id for model in client().models.list()]
    report("models", has_model=MODEL in listed, one=client().models.retrieve(MODEL).id)


def describe(error):
    return {
        "status": getattr(error, "status_code", None),
        "code": getattr(error, "code", None),
        "type": getattr(error, "type", None),
    }


def ask(key="good", model=MODEL, **options):
    return lambda: client(key).chat.completions.create(model=model, messages=MESSAGES, **options)


def errors():
    failure("wrong_key", ask("wrong"), describe)
    failure("forbidden", ask("confined"), describe)
    failure("unpriced", ask(model="no-price-for-this"), describe)
    failure("missing_model", lambda: client().models.retrieve("unheard-of"), describe)
    failure("over_budget", ask("broke"), describe)
    ask("slow")()
    failure("too_many", ask("slow"), describe)
    failure("too_large", ask(user="x" * 300_000), describe)
    # What the provider itself says, by the name of the user in the request.
    for status in (400, 404, 422, 429, 500, 503):
        failure(f"upstream_{status}", ask(user=f"status-{status}"), describe)
    failure("nobody_answers", ask(user="hang-up"), describe)

    def broken_stream():
        for _ in ask(user="break-off", stream=True)():
            pass

    failure("broken_stream", broken_stream, describe)


chat()
chat_stream(False)
chat_stream(True)
responses()
embeddings()
models()
errors()

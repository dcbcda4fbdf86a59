// The official OpenAI SDK, unchanged but for its base URL and key.

import OpenAI from "openai";
import { failure, keys, model, question, report, retries, url } from "./common.mjs";

const client = (key = "good") => new OpenAI({ baseURL: `${url}/v1`, apiKey: keys[key], maxRetries: retries[key] ?? 0 });
const messages = [{ role: "user", content: question }];

async function chat() {
  const answer = await client().chat.completions.create({ model, messages });
  const { prompt_tokens, completion_tokens, prompt_tokens_details, completion_tokens_details } = answer.usage;
  report("chat", {
    text: answer.choices[0].message.content,
    usage: [
      prompt_tokens,
      completion_tokens,
      prompt_tokens_details.cached_tokens,
      completion_tokens_details.reasoning_tokens,
    ],
  });
}

async function chatStream(askForUsage) {
  const options = askForUsage ? { stream_options: { include_usage: true } } : {};
  let text = "";
  const usage = [];
  for await (const chunk of await client().chat.completions.create({ model, messages, stream: true, ...options })) {
    text += chunk.choices.map((choice) => choice.delta.content ?? "").join("");
    if (chunk.usage) usage.push([chunk.usage.prompt_tokens, chunk.usage.completion_tokens]);
  }
  report(askForUsage ? "chat_stream_with_usage" : "chat_stream", { text, usage });
}

async function responses() {
  const answer = await client().responses.create({ model, input: question });
  const numbers = (usage) => [usage.input_tokens, usage.output_tokens];
  report("responses", { text: answer.output_text, usage: numbers(answer.usage) });
  let text = "";
  let usage = null;
  let last = null;
  for await (const event of await client().responses.create({ model, input: question, stream: true })) {
    last = event.type;
    if (event.type === "response.output_text.delta") text += event.delta;
    if (event.type === "response.completed") usage = numbers(event.response.usage);
  }
  report("responses_stream", { text, usage, last });
}

async function embeddings() {
  for (const form of ["float", undefined]) {
    const answer = await client().embeddings.create({ model, input: question, encoding_format: form });
    const vector = Array.from(answer.data[0].embedding);
    report(`embeddings_${form ?? "default"}`, { vector, usage: answer.usage.prompt_tokens });
  }
}

async function models() {
  const listed = [];
  for await (const one of client().models.list()) listed.push(one.id);
  report("models", { has_model: listed.includes(model), one: (await client().models.retrieve(model)).id });
}

const describe = (error) => ({ status: error.status ?? null, code: error.code ?? null, type: error.type ?? null });
const ask = (key = "good", more = {}) => () => client(key).chat.completions.create({ model, messages, ...more });

async function errors() {
  await failure("wrong_key", ask("wrong"), describe);
  await failure("forbidden", ask("confined"), describe);
  await failure("unpriced", ask("good", { model: "no-price-for-this" }), describe);
  await failure("missing_model", () => client().models.retrieve("unheard-of"), describe);
  await failure("over_budget", ask("broke"), describe);
  await ask("slow")();
  await failure("too_many", ask("slow"), describe);
  await failure("too_large", ask("good", { user: "x".repeat(300_000) }), describe);
  for (const status of [400, 404, 422, 429, 500, 503]) {
    await failure(`upstream_${status}`, ask("good", { user: `status-${status}` }), describe);
  }
  await failure("nobody_answers", ask("good", { user: "hang-up" }), describe);
  const brokenStream = async () => {
    for await (const _ of await ask("good", { user: "break-off", stream: true })()) {
      // Until it breaks off.
    }
  };
  await failure("broken_stream", brokenStream, describe);
}

await chat();
await chatStream(false);
await chatStream(true);
await responses();
await embeddings();
await models();
await errors();

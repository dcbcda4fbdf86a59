// The official Anthropic SDK, unchanged but for its base URL and key.

import Anthropic from "@anthropic-ai/sdk";
import { failure, keys, model, question, report, retries, url } from "./common.mjs";

const client = (key = "good") => new Anthropic({ baseURL: url, apiKey: keys[key], maxRetries: retries[key] ?? 0 });
const messages = [{ role: "user", content: question }];
const request = { model, max_tokens: 1000, messages };
const numbers = (usage) => [
  usage.input_tokens,
  usage.output_tokens,
  usage.cache_read_input_tokens,
  usage.cache_creation_input_tokens,
];

async function whole() {
  const answer = await client().messages.create(request);
  report("messages", { text: answer.content[0].text, usage: numbers(answer.usage), stop: answer.stop_reason });
}

async function stream() {
  let text = "";
  const events = client().messages.stream(request);
  events.on("text", (piece) => {
    text += piece;
  });
  const final = await events.finalMessage();
  report("stream", { text, usage: numbers(final.usage), stop: final.stop_reason });
  const kinds = [];
  for await (const event of await client().messages.create({ ...request, stream: true })) kinds.push(event.type);
  report("raw_stream", { first: kinds[0], last: kinds.at(-1) });
}

async function counting() {
  report("count_tokens", { tokens: (await client().messages.countTokens({ model, messages })).input_tokens });
}

async function models() {
  const listed = [];
  for await (const one of client().models.list()) listed.push(one.id);
  report("models", { has_model: listed.includes(model), one: (await client().models.retrieve(model)).id });
}

const describe = (error) => {
  const inner = error.error?.error ?? {};
  return { status: error.status ?? null, code: inner.code ?? null, type: inner.type ?? null };
};
const ask = (key = "good", more = {}) => () => client(key).messages.create({ ...request, ...more });

async function errors() {
  await failure("wrong_key", ask("wrong"), describe);
  await failure("forbidden", ask("confined"), describe);
  await failure("unpriced", ask("good", { model: "no-price-for-this" }), describe);
  await failure("missing_model", () => client().models.retrieve("unheard-of"), describe);
  await failure("over_budget", ask("broke"), describe);
  await ask("slow")();
  await failure("too_many", ask("slow"), describe);
  await failure("too_large", ask("good", { system: "x".repeat(300_000) }), describe);
  for (const status of [400, 404, 422, 429, 500, 529]) {
    await failure(`upstream_${status}`, ask("good", { metadata: { user_id: `status-${status}` } }), describe);
  }
  await failure("nobody_answers", ask("good", { metadata: { user_id: "hang-up" } }), describe);
  const brokenStream = async () => {
    for await (const _ of await ask("good", { metadata: { user_id: "break-off" }, stream: true })()) {
      // Until it breaks off.
    }
  };
  await failure("broken_stream", brokenStream, describe);
}

await whole();
await stream();
await counting();
await models();
await errors();

// What the SDK programs share: where the gateway is, and how a result is reported.

export const url = process.env.TOLLGATE_URL;
export const model = process.env.TOLLGATE_MODEL;
// Keys by what they are good for: good, confined (another model only), slow (one request per minute), broke (no budget
// left), wrong.
export const keys = JSON.parse(process.env.TOLLGATE_KEYS);
// As often as the SDK does by default where that must make no difference.
export const retries = { broke: 2 };
export const question = "Will it rain in Zürich?";

/** One line per scenario; the test reads them. */
export function report(scenario, facts) {
  console.log(JSON.stringify({ scenario, ...facts }));
}

/** Reports which exception a call throws. */
export async function failure(scenario, call, describe) {
  try {
    await call();
  } catch (error) {
    report(scenario, { error: error.constructor.name, ...describe(error) });
    return;
  }
  report(scenario, { error: null });
}

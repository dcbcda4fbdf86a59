// Uses the page of the API as its reader does: finds an operation, fills it in, sends it, reads the answer. What happened
// is one line of JSON for each step; the test reads them.
import { chromium } from "playwright-core";

const { DOCS_URL: url, ADMIN_TOKEN: token } = process.env;

/** Names that are shown as they are. */
const HOSTILE = `<img src=x onerror="document.title='taken'">'"; $(touch taken) & \`id\``;

const report = (step, facts) => console.log(JSON.stringify({ step, ...facts }));

const browser = await chromium.launch({
  executablePath: "/usr/bin/chromium",
  // Root has no sandbox; the rest keeps it from calling home.
  args: [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
  ],
});
try {
  const page = await browser.newPage();
  page.setDefaultTimeout(20_000);
  const trouble = [];
  const elsewhere = [];
  page.on("pageerror", (error) => trouble.push(error.message));
  page.on("console", (message) => {
    // A browser says so of every answer that is an error.
    if (message.type() === "error" && !message.text().startsWith("Failed to load resource")) trouble.push(message.text());
  });
  page.on("request", (request) => {
    if (!request.url().startsWith(new URL("/", url).href)) elsewhere.push(request.url());
  });
  const operations = page.locator("details[data-words]");
  const shown = () => operations.filter({ visible: true }).count();

  await page.goto(url);
  await operations.first().waitFor();
  const all = await shown();
  await page.getByLabel("Find").fill("post /users create");
  const found = await shown();
  await page.getByLabel("Find").fill("");
  report("find", { all, found, again: await shown() });

  /** Fills in an operation and sends it; the command line that does the same, the status and what was answered. */
  const send = async (method, path, values) => {
    const operation = operations.filter({ has: page.locator(`summary > span.method.${method}`) })
      .filter({ has: page.locator("summary > code", { hasText: new RegExp(`^${path.replace(/[{}]/g, "\\$&")}$`) }) });
    if (await operation.getAttribute("open") === null) await operation.locator("> summary").click();
    for (const [name, value] of Object.entries(values)) {
      const field = operation.getByLabel(name, { exact: true });
      if ((await field.evaluate((node) => node.tagName)) === "SELECT") await field.selectOption(value);
      else await field.fill(value);
    }
    await operation.getByRole("button", { name: "Send" }).click();
    const answer = operation.locator(".answer");
    await answer.locator("p.status").waitFor();
    const [curl, body] = await answer.locator("pre").allTextContents();
    return { curl, body, status: await answer.locator("p.status").textContent() };
  };

  report("no token", await send("get", "/users", {}));
  await page.getByLabel("Token").fill(token);
  const sample = await send("post", "/users", {});
  report("sample", sample);
  const created = await send("post", "/users", { body: JSON.stringify({ name: HOSTILE }) });
  report("create", { ...created, images: await page.locator("img").count(), title: await page.title() });
  const user = String(JSON.parse(created.body).id);
  report("list", await send("get", "/users", { limit: "1", sort: "-createdAt" }));
  report("not given", await send("get", "/users/{id}", {}));
  report("read", await send("get", "/users/{id}", { id: user }));
  report("export", await send("get", "/usage", { accept: "text/csv" }));
  report("delete", await send("delete", "/users/{id}", { id: user }));
  report("gone", await send("get", "/users/{id}", { id: user }));

  // A link to an operation opens it.
  const name = await operations.first().getAttribute("id");
  const second = await browser.newPage();
  await second.goto(`${url}#${name}`);
  await second.locator(`#${name}[open]`).waitFor();
  // Nothing of the token is kept.
  await page.reload();
  const kept = await page.evaluate(() => JSON.stringify([{ ...localStorage }, { ...sessionStorage }, document.cookie]));
  report("end", { trouble, elsewhere, kept, token: await page.getByLabel("Token").inputValue() });
} finally {
  await browser.close();
}

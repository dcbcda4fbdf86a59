'use strict';
// Shows openapi.json and sends what is filled in. Everything is set as text, never as markup.

const el = (name, text, ...children) => {
  const node = document.createElement(name);
  if (text) node.textContent = text;
  node.append(...children);
  return node;
};
const styled = (name, style, text, ...children) => {
  const node = el(name, text, ...children);
  node.className = style;
  return node;
};
const byId = (id) => document.getElementById(id);

const resolve = (doc, node) =>
  node && node.$ref ? node.$ref.slice(2).split('/').reduce((at, key) => at[key.replaceAll('~1', '/')], doc) : node;

// Schemas, with references followed as far as they are not inside themselves.
const expand = (doc, node, seen = []) => {
  if (Array.isArray(node)) return node.map((item) => expand(doc, item, seen));
  if (!node || typeof node !== 'object') return node;
  if (node.$ref) return seen.includes(node.$ref) ? node : expand(doc, resolve(doc, node), [...seen, node.$ref]);
  return Object.fromEntries(Object.entries(node).map(([key, value]) => [key, expand(doc, value, seen)]));
};

// Something to begin with: what must be given, and nothing else.
const sample = (schema) => {
  if (!schema) return null;
  if (schema.default !== undefined) return schema.default;
  if (schema.enum) return schema.enum[0];
  const other = schema.oneOf || schema.anyOf || schema.allOf;
  if (other) return sample(other[0]);
  const type = [schema.type].flat()[0];
  if (type === 'object') {
    return Object.fromEntries((schema.required || []).map((name) => [name, sample(schema.properties[name])]));
  }
  if (type === 'array') return [];
  if (type === 'integer' || type === 'number') return schema.minimum || 1;
  if (type === 'boolean') return true;
  return schema.format === 'date-time' ? new Date(Date.now() + 86400000).toISOString() : '';
};

// The rules of a value in a few words.
const rules = (schema) => {
  const { type, enum: words, minimum, maximum, pattern, format, items } = schema;
  const said = [[type].flat().filter(Boolean).join(' or '), format];
  if (words || (items && items.enum)) said.push(`one of ${(words || items.enum).join(', ')}`);
  if (minimum !== undefined || maximum !== undefined) said.push(`${minimum ?? ''} to ${maximum ?? ''}`);
  if (schema.default !== undefined) said.push(`default ${schema.default}`);
  if (pattern && pattern.length < 60) said.push(pattern);
  return said.filter(Boolean).join('; ');
};

const rows = (head, lines) => {
  const table = el('table', '', el('tr', '', ...head.map((text) => el('th', text))));
  for (const line of lines) table.append(el('tr', '', ...line.map((cell) => (cell.nodeType ? el('td', '', cell) : el('td', cell)))));
  return table;
};

// Only when somebody looks: schemas are long.
const schemas = (doc, title, content) => Object.entries(content || {}).map(([type, media]) => {
  const node = el('details', '', el('summary', `${title}: ${type}`));
  node.addEventListener('toggle', () => {
    if (node.children.length === 1) node.append(el('pre', JSON.stringify(expand(doc, media.schema), null, 2)));
  }, { once: true });
  return node;
});

const choice = (options) => {
  const select = el('select', '', ...options.map((text) => el('option', text)));
  select.disabled = options.length < 2;
  return select;
};

// Where a request goes, and with what.
const request = (path, method, form) => {
  const headers = {};
  const query = new URLSearchParams();
  for (const [parameter, input] of form.parameters) {
    const value = input.value;
    if (parameter.in === 'path') {
      if (!value) throw new Error(`${parameter.name} must be given`);
      path = path.replace(`{${parameter.name}}`, encodeURIComponent(value));
    } else if (value && parameter.in === 'query') query.set(parameter.name, value);
    else if (value && parameter.in === 'header') headers[parameter.name] = value;
  }
  if (form.accept) headers.accept = form.accept.value;
  const sent = { method: method.toUpperCase(), headers, credentials: 'omit', cache: 'no-store', redirect: 'error' };
  if (form.body && form.body.value.trim()) {
    headers['content-type'] = form.type.value;
    sent.body = form.body.value;
  }
  const search = query.toString();
  // Relative to this page, so that it works below any prefix.
  return [new URL(`.${path}${search ? `?${search}` : ''}`, document.baseURI), sent];
};

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

// The same for a shell; the token is a variable there.
const curl = (url, sent, token) => {
  const headers = Object.entries(sent.headers).map(([name, value]) => ` -H ${quoted(`${name}: ${value}`)}`).join('');
  // Read from a file: arguments are seen by everybody on the machine.
  const credential = token ? ' -H @<(printf "authorization: Bearer %s" "$TOLLGATE_ADMIN_TOKEN")' : '';
  const body = sent.body === undefined ? '' : ` --data-raw ${quoted(sent.body)}`;
  return `curl -sS -X ${sent.method}${credential}${headers}${body} ${quoted(url.href)}`;
};

const pretty = (type, text) => {
  if (!/[/+]json/.test(type)) return text;
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
};

const send = async (path, method, form) => {
  form.answer.textContent = '';
  form.button.disabled = true;
  const token = byId('token').value.trim();
  try {
    const [url, sent] = request(path, method, form);
    form.answer.append(el('pre', curl(url, sent, token)));
    const began = performance.now();
    const headers = token ? { ...sent.headers, authorization: `Bearer ${token}` } : sent.headers;
    const answer = await fetch(url, { ...sent, headers });
    const text = await answer.text();
    const took = Math.round(performance.now() - began);
    const status = `${answer.status} ${answer.statusText} in ${took} ms`;
    form.answer.append(styled('p', answer.ok ? 'status' : 'status wrong', status));
    const named = ['etag', 'location', 'retry-after', 'allow', 'idempotency-replayed', 'content-type'];
    const told = named.filter((name) => answer.headers.has(name)).map((name) => [name, answer.headers.get(name)]);
    form.answer.append(rows(['header', ''], told));
    if (text) form.answer.append(el('pre', pretty(answer.headers.get('content-type') || '', text)));
  } catch (error) {
    form.answer.append(styled('p', 'status wrong', `It was not answered: ${error.message}`));
  } finally {
    form.button.disabled = false;
  }
};

// What an operation is sent with.
const fields = (doc, path, method, op, node) => {
  const form = { parameters: [], button: el('button', 'Send'), answer: styled('div', 'answer', '') };
  form.answer.setAttribute('aria-live', 'polite');
  const lines = (op.parameters || []).map((parameter) => {
    const schema = expand(doc, parameter.schema) || {};
    const input = schema.enum ? choice(['', ...schema.enum]) : el('input');
    input.setAttribute('aria-label', parameter.name);
    form.parameters.push([parameter, input]);
    const name = `${parameter.name}${parameter.required ? ' *' : ''}`;
    const hint = styled('span', 'hint', `${parameter.description || ''} (${parameter.in}; ${rules(schema)})`);
    return [el('code', name), input, hint];
  });
  if (lines.length) node.append(el('h4', 'Parameters'), rows(['name', 'value', ''], lines));
  if (op.requestBody) {
    const content = op.requestBody.content;
    form.type = choice(Object.keys(content));
    form.type.setAttribute('aria-label', 'content type');
    form.body = el('textarea');
    form.body.rows = 8;
    form.body.spellcheck = false;
    form.body.setAttribute('aria-label', 'body');
    form.body.value = JSON.stringify(sample(expand(doc, Object.values(content)[0].schema)) ?? {}, null, 2);
    node.append(el('h4', 'Body '), form.type, form.body, ...schemas(doc, 'What it may say', content));
  }
  const good = Object.entries(op.responses).find(([status]) => status.startsWith('2'));
  const types = good ? Object.keys(resolve(doc, good[1]).content || {}) : [];
  if (types.length > 1) {
    form.accept = choice(types);
    form.accept.setAttribute('aria-label', 'accept');
    node.append(el('h4', 'Answer as '), form.accept);
  }
  form.button.type = 'button';
  form.button.addEventListener('click', () => send(path, method, form));
  node.append(el('p', '', form.button), form.answer);
};

const operation = (doc, path, method, op) => {
  const name = styled('span', `method ${method}`, method);
  const node = el('details', '', el('summary', '', name, el('code', path), el('span', ` ${op.summary || ''}`)));
  node.id = op.operationId;
  node.dataset.words = `${method} ${path} ${op.summary || ''} ${op.operationId}`.toLowerCase();
  node.addEventListener('toggle', () => {
    if (op.description) node.append(el('p', op.description));
    fields(doc, path, method, op, node);
    const answers = Object.entries(op.responses).map(([status, answer]) => [status, resolve(doc, answer)]);
    const table = rows(['status', ''], answers.map(([status, a]) => [status, a.description]));
    const good = answers.filter(([status]) => status.startsWith('2'));
    const shapes = good.flatMap(([status, answer]) => schemas(doc, status, answer.content));
    node.append(el('details', '', el('summary', 'Answers'), table, ...shapes));
  }, { once: true });
  return node;
};

// Hides what does not have all of these words, and the headings of what is hidden.
const find = () => {
  const words = byId('find').value.toLowerCase().split(/\s+/).filter(Boolean);
  for (const section of byId('main').children) {
    const found = [...section.querySelectorAll('details[data-words]')].filter((node) => {
      node.hidden = !words.every((word) => node.dataset.words.includes(word));
      return !node.hidden;
    });
    section.hidden = !found.length;
  }
};

const show = (doc) => {
  const main = byId('main');
  main.textContent = '';
  for (const tag of doc.tags) {
    const section = el('section', '', el('h2', tag.name), el('p', tag.description));
    for (const [path, item] of Object.entries(doc.paths)) {
      for (const [method, op] of Object.entries(item)) {
        if (op.tags && op.tags[0] === tag.name) section.append(operation(doc, path, method, op));
      }
    }
    main.append(section);
  }
  const linked = location.hash && byId(location.hash.slice(1));
  if (linked) {
    linked.open = true;
    linked.scrollIntoView();
  }
};

byId('find').addEventListener('input', find);
fetch('openapi.json').then((answer) => answer.json()).then(show).catch((error) => {
  byId('main').textContent = `The description could not be loaded: ${error.message}`;
});

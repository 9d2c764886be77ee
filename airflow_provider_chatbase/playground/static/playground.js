"use strict";

const at = (id) => document.getElementById(id);
const headers = { "Content-Type": "application/json" };
let setup = {};
let conversationId = null;
let credits = 0;
let pending = null;

start().catch((error) => notice(`The playground could not start: ${error.message}`, "failed"));

async function start() {
  followColours();
  setup = await (await fetch("/playground/setup.json")).json();
  if (setup.api_key) headers.Authorization = `Bearer ${setup.api_key}`;
  if (setup.is_real) {
    notice(
      `Calls are real and cost credits. They go to ${setup.address} with the API key of the Airflow connection ` +
        `${setup.connection}, which stays out of this page.`,
      "real",
    );
  } else {
    notice("This is a simulator. Its data is made up, and nothing costs anything.", "simulated");
  }
  at("agent").value = setup.agent_id ?? "";
  for (const button of document.querySelectorAll("nav button")) {
    button.addEventListener("click", () => showOperations(button.dataset.version));
  }
  at("composer").addEventListener("submit", send);
  at("message").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      at("composer").requestSubmit();
    }
  });
  at("fresh").addEventListener("click", beginConversation);
  at("agent").addEventListener("change", beginConversation);
  showOperations("v2");
  await listAgents();
}

function notice(text, kind) {
  at("notice").textContent = text;
  at("notice").className = kind;
}

function followColours() {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const follow = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
  dark.addEventListener("change", follow);
  follow();
}

function showOperations(version) {
  for (const button of document.querySelectorAll("nav button")) {
    button.setAttribute("aria-pressed", String(button.dataset.version === version));
  }
  if (typeof SwaggerUIBundle === "undefined") {
    at("operations").textContent =
      "Swagger UI is not installed: pip install 'airflow-provider-chatbase[simulator]', and start again.";
    return;
  }
  const shown = SwaggerUIBundle({
    url: `/playground/${version}.json`,
    domNode: at("operations"),
    docExpansion: "list",
    defaultModelsExpandDepth: -1,
    displayRequestDuration: true,
    filter: true,
    tryItOutEnabled: true,
    validatorUrl: null,
    requestInterceptor: confirmed,
    onComplete: () => setup.api_key && shown.preauthorizeApiKey("bearerAuth", setup.api_key),
  });
}

function confirmed(request) {
  if (setup.is_real && request.method?.toUpperCase() === "DELETE") {
    request.userFetch = async (url, options) => {
      if (!confirm(`This deletes for good, on the real service:\n${url}`)) throw new Error("Nothing was sent.");
      return fetch(url, options);
    };
  }
  return request;
}

async function listAgents() {
  try {
    const response = await fetch("/api/v2/agents?limit=100", { headers });
    if (!response.ok) throw new Error(await refusal(response));
    for (const agent of (await response.json()).data) at("agents").append(new Option(agent.name, agent.id));
  } catch (error) {
    say("error", `The agents cannot be listed. ${error.message}`);
  }
}

function beginConversation() {
  pending?.abort();
  conversationId = null;
  credits = 0;
  at("messages").replaceChildren();
  showFigures();
}

function showFigures() {
  at("conversation").textContent = conversationId ?? "new";
  at("credits").textContent = String(credits);
}

function say(kind, text) {
  const bubble = document.createElement("div");
  bubble.className = kind;
  bubble.textContent = text;
  at("messages").append(bubble);
  bubble.scrollIntoView({ block: "nearest" });
  return bubble;
}

async function send(event) {
  event.preventDefault();
  if (pending) return pending.abort(); // the button says Stop meanwhile
  const message = at("message").value.trim();
  if (!message) return;
  at("message").value = "";
  at("send").textContent = "Stop";
  say("question", message);
  const answer = { bubble: say("answer waiting", ""), text: "", reason: null, usage: null, done: false, began: performance.now() };
  const controller = (pending = new AbortController());
  try {
    await ask(message, answer, controller.signal);
  } catch (error) {
    if (error.name !== "AbortError") say("error", error.message);
    else if (answer.bubble.isConnected) say("error", "Stopped: the answer may have been charged all the same.");
  } finally {
    if (pending === controller) pending = null;
    at("send").textContent = "Send";
    answer.bubble.classList.remove("waiting");
    if (!answer.text) answer.bubble.remove();
  }
}

async function ask(message, answer, signal) {
  const agent = at("agent").value.trim();
  if (!agent) throw new Error("Name an agent first: its id goes into the field above.");
  const body = JSON.stringify({ message, stream: true, ...(conversationId && { conversationId }) });
  const url = `/api/v2/agents/${encodeURIComponent(agent)}/chat`;
  const response = await fetch(url, { method: "POST", headers, body, signal }).catch((error) => {
    throw error.name === "AbortError" ? error : new Error("The playground cannot be reached: is it still running?");
  });
  if (!response.ok) throw new Error(await refusal(response));
  if (response.headers.get("content-type")?.includes("text/event-stream")) await readStream(response, answer);
  else readWhole(await response.json(), answer);
  if (signal.aborted) return;
  showFigures();
  const spent = answer.usage?.credits ?? "unknown";
  const seconds = ((performance.now() - answer.began) / 1000).toFixed(1);
  say("figures", `finish reason: ${answer.reason ?? "none"} · credits: ${spent} · ${seconds} s`);
}

async function readStream(response, answer) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      rest = (rest + (value ?? "")).replace(/\r\n/g, "\n");
      const records = rest.split("\n\n");
      rest = records.pop();
      records.forEach((record) => readRecord(record, answer));
      if (done) break;
    }
  } catch (error) {
    if (error.name !== "TypeError") throw error; // a TypeError is the connection, broken
  }
  if (!answer.done) throw new Error("The answer broke off, and may have been kept, and charged, all the same.");
}

function readRecord(record, answer) {
  const lines = record.split("\n").filter((line) => line.startsWith("data:"));
  const data = lines.map((line) => line.slice(5).trimStart()).join("\n");
  if (!data) return;
  if (data === "[DONE]") {
    answer.done = true;
    return;
  }
  const event = JSON.parse(data);
  if (event.type === "text-delta") addText(answer, event.delta);
  if (event.type === "tool-input-available") sayTool(event);
  if (event.type === "error") {
    throw new Error(`The answer broke off: ${event.errorText ?? event.error?.message ?? "no reason was given"}.`);
  }
  if (event.type === "finish") answer.done = true;
  answer.reason = event.finishReason ?? event.messageMetadata?.finishReason ?? answer.reason;
  takeFigures(event.messageMetadata ?? event.metadata ?? (event.type === "message-metadata" ? event : null), answer);
}

function readWhole(reply, answer) {
  for (const part of reply.data?.parts ?? []) {
    if (part.type === "text") addText(answer, part.text);
    if (part.type === "tool-call") sayTool(part);
  }
  answer.reason = reply.data?.metadata?.finishReason ?? null;
  takeFigures(reply.data?.metadata, answer);
}

function addText(answer, text) {
  answer.text += text;
  answer.bubble.textContent = answer.text;
  answer.bubble.scrollIntoView({ block: "nearest" });
}

function sayTool(call) {
  say("tool", `The agent asks for the tool ${call.toolName} with ${JSON.stringify(call.input)}`);
}

function takeFigures(metadata, answer) {
  if (!metadata) return;
  conversationId = metadata.conversationId ?? conversationId;
  if (metadata.usage && !answer.usage) credits += metadata.usage.credits ?? 0; // some streams say it twice
  answer.usage = metadata.usage ?? answer.usage;
}

async function refusal(response) {
  const text = await response.text();
  let message = null;
  let code = null;
  try {
    const reply = JSON.parse(text);
    message = reply.error?.message ?? reply.message;
    code = reply.error?.code;
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
  }
  const said = `${(message ?? "The reply is no JSON").replace(/[.\s]+$/, "")} (${code ?? "no code"}, HTTP ${response.status})`;
  return said + (setup.is_real && code?.startsWith("AUTH_") ? ": check the API key in the Airflow connection." : ".");
}

// The demonstration: opens WebSockets through Envoy and shows the engine of each. It uses the calls and sockets of
// Berth's browser module, which requests a login when the session ends, and then continues them.
import { fetch, onExpired, openSocket, session } from "/berth/session.js";

const POLL_MS = 2000;
// The service learns of an open socket after a short delay.
const SETTLE_MS = 300;
const byId = (id) => document.getElementById(id);
// A part of the socket names that differs after each load, so that earlier sockets are not confused with these.
const page = Math.random().toString(36).slice(2, 6);
const sockets = [];
let count = 0;

class Socket {
  constructor(path) {
    count += 1;
    this.tab = `${page}-${count}`;
    this.path = path;
    this.engine = "";
    this.state = "connecting";
    this.tone = "";
    this.version = "";
    this.answerMs = null;
    this.nextId = 0;
    this.pending = new Map();
    this.ws = openSocket(`${path}?berth_tab=${this.tab}`);
    this.ws.addEventListener("state", ({ detail }) => this.changed(detail));
    this.ws.onmessage = (event) => this.receive(JSON.parse(event.data));
  }

  receive(message) {
    if (message.method === "OnConnected") {
      this.state = message.params.qSessionState;
      this.tone = this.state.startsWith("SESSION_ERROR") ? "bad" : "good";
      this.requestVersion();
    } else if (this.pending.has(message.id)) {
      this.answerMs = performance.now() - this.pending.get(message.id);
      this.pending.delete(message.id);
      this.version = message.result?.qVersion?.qComponentVersion ?? "";
    }
    draw();
  }

  requestVersion() {
    if (this.ws.readyState !== WebSocket.OPEN || this.pending.size > 0) return;
    this.nextId += 1;
    this.pending.set(this.nextId, performance.now());
    this.ws.send(JSON.stringify({
      jsonrpc: "2.0", id: this.nextId, handle: -1, method: "EngineVersion", params: [],
    }));
  }

  changed({ state, code, attempt }) {
    this.pending.clear();
    this.tone = code === undefined || code === 1000 ? "" : "bad";
    this.state = state === "waiting" ? `cut (${code}), attempt ${attempt}` : state;
    if (state === "login") this.state = "waits for a login";
    if (state === "closed") this.state = `closed (${code})`;
    if (state === "open") setTimeout(placements, SETTLE_MS);
    draw();
  }

  get open() {
    return this.ws.readyState <= WebSocket.OPEN;
  }

  close() {
    this.ws.close(1000);
  }
}

const cell = (text, tone) => {
  const td = document.createElement("td");
  td.textContent = text;
  if (tone) td.className = tone;
  return td;
};

// Rows are updated in place, so that the keyboard's focus stays.
function draw() {
  const body = byId("sockets").tBodies[0];
  for (const socket of sockets) {
    if (!socket.row) {
      socket.row = document.createElement("tr");
      socket.button = document.createElement("button");
      socket.button.addEventListener("click", () => (socket.open ? socket.close() : drop(socket)));
      socket.action = document.createElement("td");
      socket.action.append(socket.button);
      socket.row.append(socket.action);
      body.append(socket.row);
    }
    const answer = socket.answerMs === null ? "" : `${socket.answerMs.toFixed(1)} ms`;
    while (socket.row.firstChild !== socket.action) socket.row.firstChild.remove();
    socket.action.before(
      cell(socket.tab), cell(socket.path), cell(socket.engine), cell(socket.state, socket.tone),
      cell(socket.version), cell(answer, "number"),
    );
    socket.button.textContent = socket.open ? "Close" : "Remove";
    socket.button.setAttribute("aria-label", `${socket.button.textContent} ${socket.tab}`);
  }
  byId("sockets").hidden = sockets.length === 0;
  byId("no-sockets").hidden = sockets.length > 0;
  byId("close-all").hidden = !sockets.some((socket) => socket.open);
  drawEngines();
}

function drawEngines() {
  const perEngine = new Map();
  for (const socket of sockets) {
    if (socket.open && socket.engine) {
      perEngine.set(socket.engine, (perEngine.get(socket.engine) ?? 0) + 1);
    }
  }
  const max = Math.max(1, ...perEngine.values());
  const list = byId("engines");
  list.replaceChildren();
  for (const [engine, open] of [...perEngine].sort()) {
    const name = document.createElement("dt");
    name.textContent = engine;
    const bar = document.createElement("dd");
    const meter = document.createElement("meter");
    meter.max = max;
    meter.value = open;
    meter.setAttribute("aria-label", `sockets on ${engine}`);
    bar.append(meter);
    const number = document.createElement("dd");
    number.textContent = open;
    list.append(name, bar, number);
  }
  byId("no-engines").hidden = perEngine.size > 0;
}

function drop(socket) {
  const index = sockets.indexOf(socket);
  socket.row.remove();
  sockets.splice(index, 1);
  draw();
  (sockets[index]?.button ?? document.querySelector("button[data-path]")).focus();
}

async function placements() {
  const response = await fetch("/session/placements");
  if (!response.ok) return;
  // Reversed, so that the latest placement of a tab overwrites earlier ones.
  const byTab = new Map((await response.json()).placements.reverse().map((p) => [p.tab, p]));
  for (const socket of sockets) socket.engine = byTab.get(socket.tab)?.engine ?? socket.engine;
  draw();
}

async function whoAmI() {
  const current = await session();
  const isLoggedIn = !current.anonymous;
  const minutes = Math.ceil((current.idle_remaining_s ?? 0) / 60);
  byId("who").textContent = isLoggedIn
    ? `${current.display_name} · ${current.roles.join(", ") || "no roles"} · ${minutes} min left when idle`
    : "not logged in";
  byId("login").hidden = byId("welcome").hidden = isLoggedIn;
  byId("logout").hidden = byId("inside").hidden = !isLoggedIn;
}

for (const button of document.querySelectorAll("button[data-path]")) {
  button.addEventListener("click", () => {
    for (let n = Number(button.dataset.times ?? 1); n > 0; n -= 1) {
      sockets.push(new Socket(button.dataset.path));
    }
    draw();
  });
}
byId("close-all").addEventListener("click", () => {
  for (const socket of sockets) socket.close();
});
byId("whoami").addEventListener("click", async () => {
  const response = await fetch("/api/whoami", { headers: { accept: "application/json" } });
  const body = await response.json().catch(() => "not JSON");
  byId("whoami-answer").hidden = false;
  byId("whoami-answer").textContent = `${response.status}\n${JSON.stringify(body, null, 2)}`;
});
setInterval(() => {
  if (document.hidden || !sockets.some((socket) => socket.open)) return;
  for (const socket of sockets) socket.requestVersion();
  placements().catch(() => {});
}, POLL_MS);
setInterval(() => whoAmI().catch(() => {}), 30000);
onExpired(() => {
  byId("who").textContent = "session ended";
});
whoAmI().catch(() => {
  byId("who").textContent = "the service does not answer";
});

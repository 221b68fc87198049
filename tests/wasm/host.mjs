// A fake Envoy: runs the built module under node:wasi with the host calls of proxy-wasm
// 0.2.1 that the filter uses. Records what the filter does to each request; can make any call fail.
import { readFileSync } from 'node:fs';
import { WASI } from 'node:wasi';
import { Entries } from './entries.mjs';
import { grpcTarget } from './grpc_target.mjs';
import { encodePairs, latin1, ModuleMemory } from './module_memory.mjs';

const OK = 0;
const NOT_FOUND = 1;
const BAD_ARGUMENT = 2;
const INTERNAL_FAILURE = 10;
const REQUEST_HEADERS = 0;
const RESPONSE_HEADERS = 2;
const REQUEST_TRAILERS = 1;
const CALLOUT_HEADERS = 6;
const REQUEST_BODY = 0;
const CALLOUT_BODY = 4;
const GRPC_MESSAGE = 5;
const CONFIGURATION = 7;

export const PAUSE = 1;
export const CONTINUE = 0;

const file = process.env.BERTH_WASM ?? new URL('../../target/wasm/berth_filter.wasm', import.meta.url);
const module = new WebAssembly.Module(readFileSync(file));

export class Host {
  clusters = new Set(['placement', 'svc']);
  logs = [];
  metrics = new Map();
  histograms = new Map();
  calls = [];
  /** Reports and polls of the gateway. */
  gatewayCalls = [];
  /** Whether the service accepts call streams; the opened ones. */
  takesStreams = false;
  callStreams = [];
  /** Whether the cluster has no reachable endpoint: calls and streams fail within themselves. */
  unreachable = false;
  entries = new Entries();
  counts = {};
  /** Started calls and streams, including those that failed at once. */
  attempts = 0;
  fail = {};
  now = 1_000_000;
  tick = 0;
  #contexts = new Map();
  #next = 1;
  #root = 0;
  #current = 0;
  #configuration = Buffer.alloc(0);
  #metricNames = [];
  #calloutAnswer = { headers: [], body: Buffer.alloc(0) };
  #message = Buffer.alloc(0);
  #memory;

  constructor({ env = {} } = {}) {
    const wasi = new WASI({ version: 'preview1', env });
    const hostCalls = this.#hostCalls();
    const imports = {};
    for (const { module: moduleName, name } of WebAssembly.Module.imports(module)) {
      if (moduleName !== 'env') continue;
      imports[name] = (...args) => {
        this.counts[name] = (this.counts[name] ?? 0) + 1;
        if (this.fail[name] !== undefined) return this.fail[name];
        if (!hostCalls[name]) throw new Error(`the filter must not need ${name}`);
        return hostCalls[name](...args);
      };
    }
    this.instance = new WebAssembly.Instance(module, { env: imports, ...wasi.getImportObject() });
    this.exports = this.instance.exports;
    this.#memory = new ModuleMemory(this.exports);
    wasi.initialize(this.instance);
  }

  #enter(callback, ...args) {
    return this.entries.enter(() => this.exports[callback](...args));
  }

  /** Configures a new root context, as Envoy does for every new configuration; returns whether it is accepted. */
  configure(json) {
    const text = typeof json === 'string' || Buffer.isBuffer(json) ? json : JSON.stringify(json);
    this.#configuration = Buffer.from(text);
    this.#root = this.#next++;
    this.#enter('proxy_on_context_create', this.#root, 0);
    this.#current = this.#root;
    if (!this.#enter('proxy_on_vm_start', this.#root, 0)) return false;
    return this.#enter('proxy_on_configure', this.#root, this.#configuration.length) === 1;
  }

  /** The headers of a request arrive; `headers` are pairs whose characters are bytes. */
  request(headers) {
    const id = this.#next++;
    const request = {
      id,
      headers: headers.map(([name, value]) => [name, latin1(value)]),
      properties: {},
      replies: [],
      resumed: 0,
      reset: 0,
    };
    this.#contexts.set(id, request);
    this.#enter('proxy_on_context_create', id, this.#root);
    this.#current = id;
    request.action = this.#enter('proxy_on_request_headers', id, headers.length, 1);
    return request;
  }

  body(request) {
    this.#current = request.id;
    return this.#enter('proxy_on_request_body', request.id, 10, 0);
  }

  /** Bytes from the client; returns what is forwarded, or undefined when the request is paused. */
  chunk(request, bytes) {
    this.#current = request.id;
    request.chunk = Buffer.from(bytes);
    const action = this.#enter('proxy_on_request_body', request.id, request.chunk.length, 0);
    const forwarded = action === CONTINUE ? request.chunk : undefined;
    delete request.chunk;
    return forwarded;
  }

  /** The client ends with trailers, pairs like the headers; `request.trailers` has the forwarded ones. */
  trailers(request, trailers = []) {
    this.#current = request.id;
    request.trailers = trailers.map(([name, value]) => [name, latin1(value)]);
    return this.#enter('proxy_on_request_trailers', request.id, trailers.length);
  }

  /** The head of the response arrives; `details` are those of Envoy. `request.response` has what is forwarded. */
  response(request, headers, details = 'via_upstream') {
    this.#current = request.id;
    request.response = headers.map(([name, value]) => [name, latin1(value)]);
    request.texts = { 'response.code_details': details };
    return this.#enter('proxy_on_response_headers', request.id, headers.length, 0);
  }

  /** The client disconnects, or the request ends. */
  done(request, { keep = false } = {}) {
    if (request.ended) return;
    request.ended = true;
    this.#current = request.id;
    this.#enter('proxy_on_log', request.id);
    this.#enter('proxy_on_done', request.id);
    if (!keep) this.delete(request);
  }

  delete(request) {
    this.#enter('proxy_on_delete', request.id);
    this.#contexts.delete(request.id);
  }

  /** Ends a call; without a status there is no response. */
  answer(call, status, body = '') {
    const headers = status === undefined ? [] : [[':status', latin1(String(status))]];
    this.#calloutAnswer = { headers, body: Buffer.from(body) };
    this.#current = this.#root;
    const { length } = this.#calloutAnswer.body;
    this.#enter('proxy_on_http_call_response', call.context, call.token, headers.length, length, 0);
    this.#calloutAnswer = { headers: [], body: Buffer.alloc(0) };
  }

  /** The service greets on a stream: a reply with status 200 and no call. */
  greet(stream) {
    this.receive(stream, [16, 0xc8, 0x01]);
  }

  /** A message arrives on a stream. */
  receive(stream, message) {
    this.#message = Buffer.from(message);
    this.#current = this.#root;
    this.#enter('proxy_on_grpc_receive', stream.context, stream.token, this.#message.length);
  }

  /** A stream ends. */
  closeStream(stream, status = 14) {
    stream.open = false;
    this.#current = this.#root;
    this.#enter('proxy_on_grpc_close', stream.context, stream.token, status);
  }

  /** The context in effect. */
  get current() {
    return this.#current;
  }

  get root() {
    return this.#root;
  }

  /** Time passes, and the root context gets its tick. */
  wait(ms) {
    this.now += ms;
    this.#current = this.#root;
    this.#enter('proxy_on_tick', this.#root);
  }

  get memory() {
    return this.#memory.size;
  }

  #give(data, dataAt, sizeAt) {
    this.#memory.give(data, dataAt, sizeAt);
    return OK;
  }

  #map(kind) {
    if (kind === CALLOUT_HEADERS) return this.#calloutAnswer.headers;
    if (kind === REQUEST_TRAILERS) return this.#contexts.get(this.#current)?.trailers;
    if (kind === RESPONSE_HEADERS) return this.#contexts.get(this.#current)?.response;
    return kind === REQUEST_HEADERS ? this.#contexts.get(this.#current)?.headers : undefined;
  }

  /** A stream that fails within the call: Envoy answers itself, and its metadata enter the module at once. */
  #failStream(context, token) {
    for (const part of ['initial', 'trailing']) {
      const callback = `proxy_on_grpc_receive_${part}_metadata`;
      if (this.exports[callback]) this.#enter(callback, context, token, 0);
    }
    this.entries.defer(() => this.#enter('proxy_on_grpc_close', context, token, 14));
    return INTERNAL_FAILURE;
  }

  #hostCalls() {
    const request = () => this.#contexts.get(this.#current);
    const headerName = (at, size) => this.#memory.text(at, size).toLowerCase();
    return {
      proxy_log: (level, at, size) => {
        this.logs.push({ level, text: this.#memory.text(at, size) });
        return OK;
      },
      proxy_get_current_time_nanoseconds: (at) => {
        this.#memory.number64(at, BigInt(this.now) * 1_000_000n);
        return OK;
      },
      proxy_set_tick_period_milliseconds: (period) => {
        this.tick = period;
        return OK;
      },
      proxy_get_buffer_bytes: (kind, start, max, dataAt, sizeAt) => {
        const bodies = {
          [REQUEST_BODY]: request()?.chunk,
          [CALLOUT_BODY]: this.#calloutAnswer.body,
          [GRPC_MESSAGE]: this.#message,
          [CONFIGURATION]: this.#configuration,
        };
        const data = bodies[kind];
        return data ? this.#give(data.subarray(start, start + max), dataAt, sizeAt) : NOT_FOUND;
      },
      proxy_get_header_map_pairs: (kind, dataAt, sizeAt) => {
        const map = this.#map(kind);
        if (!map) return BAD_ARGUMENT;
        const buffer = encodePairs(map);
        return this.#give(buffer.subarray(0, this.cut ?? buffer.length), dataAt, sizeAt);
      },
      proxy_get_header_map_value: (kind, at, size, dataAt, sizeAt) => {
        const header = this.#map(kind)?.find(([name]) => name === headerName(at, size));
        return header ? this.#give(header[1], dataAt, sizeAt) : NOT_FOUND;
      },
      proxy_remove_header_map_value: (kind, at, size) => {
        const map = this.#map(kind);
        if (!map || kind === CALLOUT_HEADERS) return BAD_ARGUMENT;
        const removedName = headerName(at, size);
        map.splice(0, map.length, ...map.filter(([name]) => name !== removedName));
        return OK;
      },
      proxy_replace_header_map_value: (kind, at, size, valueAt, valueSize) => {
        if (!request() || kind !== REQUEST_HEADERS) return BAD_ARGUMENT;
        const replacedName = headerName(at, size);
        const others = request().headers.filter(([name]) => name !== replacedName);
        request().headers = [...others, [replacedName, this.#memory.bytes(valueAt, valueSize)]];
        return OK;
      },
      proxy_add_header_map_value: (kind, at, size, valueAt, valueSize) => {
        const map = kind === CALLOUT_HEADERS ? undefined : this.#map(kind);
        if (!map) return BAD_ARGUMENT;
        map.push([headerName(at, size), this.#memory.bytes(valueAt, valueSize)]);
        return OK;
      },
      proxy_set_property: (at, size, valueAt, valueSize) => {
        if (!request()) return BAD_ARGUMENT;
        request().properties[this.#memory.text(at, size)] = this.#memory.text(valueAt, valueSize);
        return OK;
      },
      // Like Envoy: prepend, append, or replace.
      proxy_set_buffer_bytes: (kind, start, size, at, length) => {
        const chunk = kind === REQUEST_BODY ? request()?.chunk : undefined;
        if (!chunk) return NOT_FOUND;
        const data = this.#memory.bytes(at, length);
        if (start === 0 && size === 0) request().chunk = Buffer.concat([data, chunk]);
        else if (start === 0 && size >= chunk.length) request().chunk = data;
        else if (start >= chunk.length) request().chunk = Buffer.concat([chunk, data]);
        else return BAD_ARGUMENT;
        return OK;
      },
      proxy_get_property: (at, size, dataAt, sizeAt) => {
        const name = this.#memory.text(at, size).replaceAll('\0', '.');
        const text = request()?.texts?.[name];
        if (text !== undefined) return this.#give(latin1(text), dataAt, sizeAt);
        const value = request()?.numbers?.[name];
        if (value === undefined) return NOT_FOUND;
        const data = Buffer.alloc(8);
        data.writeBigUInt64LE(BigInt(value));
        return this.#give(data, dataAt, sizeAt);
      },
      proxy_continue_stream: () => {
        request().resumed += 1;
        return OK;
      },
      // Envoy ends the request within the call.
      proxy_close_stream: () => {
        const [current, reset] = [this.#current, request()];
        reset.reset += 1;
        this.done(reset);
        this.#current = current;
        return OK;
      },
      proxy_send_local_response: (status, at, size, bodyAt, bodySize, headersAt, headersSize) => {
        const headers = this.#memory.readPairs(headersAt, headersSize);
        const body = this.#memory.text(bodyAt, bodySize);
        request().replies.push({ status, details: this.#memory.text(at, size), headers, body });
        return OK;
      },
      proxy_define_metric: (kind, at, size, idAt) => {
        this.#metricNames.push(this.#memory.text(at, size));
        this.#memory.number(idAt, this.#metricNames.length - 1);
        return OK;
      },
      proxy_increment_metric: (id, offset) => {
        const name = this.#metricNames[id];
        this.metrics.set(name, (this.metrics.get(name) ?? 0) + Number(offset));
        return OK;
      },
      proxy_record_metric: (id, value) => {
        const name = this.#metricNames[id];
        this.histograms.set(name, [...(this.histograms.get(name) ?? []), Number(value)]);
        return OK;
      },
      proxy_http_call: (at, size, headersAt, headersSize, bodyAt, bodySize, _t, _ts, timeout, tokenAt) => {
        const cluster = this.#memory.text(at, size);
        if (!this.clusters.has(cluster)) return BAD_ARGUMENT;
        const headers = Object.fromEntries(this.#memory.readPairs(headersAt, headersSize));
        const call = { token: this.#next++, context: this.#current, cluster, headers, timeout };
        this.attempts += 1;
        // Envoy drops the call, so its response does not reach the module.
        if (this.unreachable) {
          this.entries.defer(() => {});
          return INTERNAL_FAILURE;
        }
        call.body = this.#memory.text(bodyAt, bodySize);
        (headers[':path'].startsWith('/v1/gateways/') ? this.gatewayCalls : this.calls).push(call);
        this.#memory.number(tokenAt, call.token);
        return OK;
      },
      proxy_grpc_stream: (at, size, serviceAt, serviceSize, methodAt, methodSize, metaAt, metaSize, tokenAt) => {
        if (!this.takesStreams) return INTERNAL_FAILURE;
        const path = `/${this.#memory.text(serviceAt, serviceSize)}/${this.#memory.text(methodAt, methodSize)}`;
        const metadata = Object.fromEntries(this.#memory.readPairs(metaAt, metaSize));
        const { cluster, authority } = grpcTarget(this.#memory.bytes(at, size)) ?? {};
        if (cluster === undefined) return BAD_ARGUMENT;
        this.attempts += 1;
        if (this.unreachable) return this.#failStream(this.#current, this.#next++);
        // `kept`: Envoy keeps it, and would use it when the root context is deleted.
        const stream = { token: this.#next++, context: this.#current, cluster, authority, path, metadata, sent: [], open: true, kept: true };
        this.callStreams.push(stream);
        this.#memory.number(tokenAt, stream.token);
        return OK;
      },
      proxy_grpc_send: (token, at, size) => {
        const stream = this.callStreams.find((candidate) => candidate.token === token && candidate.open);
        if (!stream) return BAD_ARGUMENT;
        // The connection is lost: Envoy notifies later.
        if (stream.broken) this.entries.defer(() => this.closeStream(stream));
        else stream.sent.push(this.#memory.bytes(at, size));
        return OK;
      },
      proxy_grpc_cancel: (token) => {
        const stream = this.callStreams.find((candidate) => candidate.token === token && candidate.kept);
        if (!stream) return NOT_FOUND;
        stream.open = false;
        stream.kept = false;
        return OK;
      },
      proxy_set_effective_context: (id) => {
        if (id !== this.#root && !this.#contexts.has(id)) return BAD_ARGUMENT;
        this.#current = id;
        return OK;
      },
    };
  }
}

export const STATUS = { OK, NOT_FOUND, BAD_ARGUMENT, INTERNAL_FAILURE };

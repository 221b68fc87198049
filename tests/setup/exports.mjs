// Removes from the filter's export section every callback that the filter does not use: exports.mjs IN OUT.
// The SDK exports all callbacks of proxy-wasm, and Envoy calls the module for each exported one. An unused callback
// costs time, and the callbacks for gRPC metadata make a worker spin forever (see "Calls that re-enter the
// module" in filter/src/abi.rs). A capability list in Envoy's configuration has the same effect, but not every
// installation can have one.
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';

/** The callbacks that the filter uses; `allowed_capabilities` in envoy/filter.yaml lists the same. */
export const CALLBACKS = [
  'proxy_on_vm_start',
  'proxy_on_configure',
  'proxy_on_context_create',
  'proxy_on_memory_allocate',
  'proxy_on_tick',
  'proxy_on_request_headers',
  'proxy_on_request_body',
  'proxy_on_request_trailers',
  'proxy_on_response_headers',
  'proxy_on_http_call_response',
  'proxy_on_grpc_receive',
  'proxy_on_grpc_close',
  'proxy_on_log',
  'proxy_on_done',
  'proxy_on_delete',
];

const HEADER_BYTES = 8;
const EXPORT_SECTION = 7;

/**
 * Reads an unsigned LEB128 number of a module (WebAssembly Core 2.0, section 5.2.2). Returns it and the offset after
 * it.
 */
function readNumber(bytes, at) {
  let value = 0;
  for (let shift = 0; ; shift += 7) {
    const byte = bytes[at];
    at += 1;
    value += (byte & 0x7f) * 2 ** shift;
    if (byte < 0x80) return [value, at];
  }
}

function number(value) {
  const bytes = [];
  for (; value >= 0x80; value = Math.floor(value / 0x80)) bytes.push((value % 0x80) | 0x80);
  return Buffer.from([...bytes, value]);
}

/** The content of the export section without the exports that `keep` rejects. */
function filtered(section, keep) {
  const [count, first] = readNumber(section, 0);
  const kept = [];
  let at = first;
  for (let i = 0; i < count; i += 1) {
    const start = at;
    const [size, name] = readNumber(section, at);
    // The name, one byte for the kind, and the index.
    [, at] = readNumber(section, name + size + 1);
    if (keep(section.toString('utf8', name, name + size))) kept.push(section.subarray(start, at));
  }
  return Buffer.concat([number(kept.length), ...kept]);
}

/** The module with only the exports that `keep` accepts. Everything else is unchanged. */
export function withExports(module, keep) {
  const parts = [module.subarray(0, HEADER_BYTES)];
  for (let at = HEADER_BYTES; at < module.length; ) {
    const [size, content] = readNumber(module, at + 1);
    const end = content + size;
    if (module[at] === EXPORT_SECTION) {
      const section = filtered(module.subarray(content, end), keep);
      parts.push(Buffer.from([EXPORT_SECTION]), number(section.length), section);
    } else {
      parts.push(module.subarray(at, end));
    }
    at = end;
  }
  return Buffer.concat(parts);
}

export const isUsed = (name) => !name.startsWith('proxy_on_') || CALLBACKS.includes(name);

function main([from, to]) {
  const module = withExports(readFileSync(from), isUsed);
  const names = WebAssembly.Module.exports(new WebAssembly.Module(module)).map(({ name }) => name);
  const missing = CALLBACKS.filter((name) => !names.includes(name));
  if (missing.length > 0) throw new Error(`${from} has no ${missing.join(', ')}`);
  // Envoy may have the old file open, so it is replaced instead of overwritten.
  writeFileSync(`${to}.new`, module);
  renameSync(`${to}.new`, to);
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) main(process.argv.slice(2));

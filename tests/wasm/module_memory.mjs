// The memory of the module: reads what the filter passes to host calls, and writes what they return.

export const latin1 = (text) => Buffer.from(text, 'latin1');

/** A list of headers in the encoding of proxy-wasm. */
export function encodePairs(map) {
  const sizes = Buffer.alloc(4 + 8 * map.length);
  sizes.writeUInt32LE(map.length, 0);
  const texts = map.flatMap(([name, value], i) => {
    sizes.writeUInt32LE(name.length, 4 + 8 * i);
    sizes.writeUInt32LE(value.length, 8 + 8 * i);
    return [latin1(name), Buffer.alloc(1), value, Buffer.alloc(1)];
  });
  return Buffer.concat([sizes, ...texts]);
}

export class ModuleMemory {
  #exports;

  constructor(exports) {
    this.#exports = exports;
  }

  get size() {
    return this.#exports.memory.buffer.byteLength;
  }

  number64(at, value) {
    new DataView(this.#exports.memory.buffer).setBigUint64(at >>> 0, value, true);
  }

  bytes(at, size) {
    return Buffer.from(new Uint8Array(this.#exports.memory.buffer, at >>> 0, size >>> 0));
  }

  text(at, size) {
    return this.bytes(at, size).toString('utf8');
  }

  number(at, value) {
    new DataView(this.#exports.memory.buffer).setUint32(at >>> 0, value >>> 0, true);
  }

  /** Writes data into memory that the module allocates, and its address and size to `dataAt` and `sizeAt`. */
  give(data, dataAt, sizeAt) {
    const at = this.#exports.proxy_on_memory_allocate(data.length);
    new Uint8Array(this.#exports.memory.buffer).set(data, at >>> 0);
    this.number(dataAt, at);
    this.number(sizeAt, data.length);
  }

  /** Reads a list of headers, as `encodePairs` writes it. */
  readPairs(at, size) {
    const data = this.bytes(at, size);
    const pairs = [];
    let text = 4 + 8 * data.readUInt32LE(0);
    const readText = (length) => {
      const part = data.subarray(text, text + length).toString('utf8');
      text += length + 1;
      return part;
    };
    for (let i = 0; i < data.readUInt32LE(0); i += 1) {
      const name = readText(data.readUInt32LE(4 + 8 * i));
      pairs.push([name, readText(data.readUInt32LE(8 + 8 * i))]);
    }
    return pairs;
  }
}

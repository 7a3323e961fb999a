/** As much of Protocol Buffers' wire format as a client of centrifuge needs: varints and fields with a length. */

const WIRE_VARINT = 0;
const WIRE_LENGTH = 2;

/** A growing message. */
export class ProtobufWriter {
  #bytes = Buffer.allocUnsafe(256);
  #at = 0;

  reset(): void {
    this.#at = 0;
  }

  /** A view, valid until the next call. */
  get bytes(): Buffer {
    return this.#bytes.subarray(0, this.#at);
  }

  #reserve(bytes: number): void {
    if (this.#at + bytes <= this.#bytes.length) return;
    const grown = Buffer.allocUnsafe(Math.max(2 * this.#bytes.length, this.#at + bytes));
    this.#bytes.copy(grown, 0, 0, this.#at);
    this.#bytes = grown;
  }

  varint(value: number): void {
    this.#reserve(5);
    let rest = value >>> 0;
    while (rest > 0x7f) {
      this.#bytes[this.#at++] = (rest & 0x7f) | 0x80;
      rest >>>= 7;
    }
    this.#bytes[this.#at++] = rest;
  }

  varintField(field: number, value: number): void {
    this.varint((field << 3) | WIRE_VARINT);
    this.varint(value);
  }

  bytesField(field: number, value: Uint8Array): void {
    this.varint((field << 3) | WIRE_LENGTH);
    this.varint(value.length);
    this.raw(value);
  }

  raw(value: Uint8Array): void {
    this.#reserve(value.length);
    this.#bytes.set(value, this.#at);
    this.#at += value.length;
  }
}

export class ProtobufReader {
  #bytes: Uint8Array = new Uint8Array(0);
  #end = 0;
  at = 0;
  /** Of the field that `next` found: its number, and where its value lies; a varint's value is in `value`. */
  field = 0;
  value = 0;
  from = 0;
  to = 0;

  read(bytes: Uint8Array, from: number, to: number): void {
    this.#bytes = bytes;
    this.at = from;
    this.#end = to;
  }

  /** The next field; false at the end. Throws on bytes that are no message of varints and lengths. */
  next(): boolean {
    if (this.at >= this.#end) return false;
    const key = this.varint();
    this.field = key >>> 3;
    const wire = key & 7;
    if (wire === WIRE_VARINT) this.value = this.varint();
    else if (wire === WIRE_LENGTH) {
      const length = this.varint();
      this.from = this.at;
      this.to = this.at + length;
      this.at = this.to;
      if (this.to > this.#end) throw new Error('a field ends behind its message');
    } else throw new Error(`wire type ${wire} is not expected`);
    return true;
  }

  /** Numbers of more than 32 bits lose the upper ones. */
  varint(): number {
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      if (this.at >= this.#end) throw new Error('a number has no end');
      const byte = this.#bytes[this.at++]!;
      if (shift < 32) value |= (byte & 0x7f) << shift;
      if (byte < 0x80) return value >>> 0;
    }
  }
}

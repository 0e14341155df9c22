/** Content that tells whose it is: each byte follows from an exchange's id, the direction, and its position. */

/** Directions. */
export const UP = 1;
export const DOWN = 2;

export function contentByte(id: number, direction: number, at: number): number {
  return (at * 31 + (at >>> 8) * 113 + id * 97 + (id >>> 8) * 59 + direction * 151) & 255;
}

export function content(id: number, direction: number, from: number, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  for (let index = 0; index < length; index++) bytes[index] = contentByte(id, direction, from + index);
  return bytes;
}

/** Position in the whole content of the first wrong byte, or -1. */
export function wrongByte(id: number, direction: number, from: number, bytes: Uint8Array): number {
  for (let index = 0; index < bytes.length; index++) {
    if (bytes[index] !== contentByte(id, direction, from + index)) return from + index;
  }
  return -1;
}

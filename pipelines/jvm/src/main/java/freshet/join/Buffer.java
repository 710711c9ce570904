package freshet.join;

import java.util.Arrays;

/** Bytes that grow, with what protobuf is made of. */
final class Buffer {
  private byte[] data;
  private int size;

  Buffer(int capacity) {
    data = new byte[capacity];
  }

  void clear() {
    size = 0;
  }

  int size() {
    return size;
  }

  byte at(int place) {
    return data[place];
  }

  byte[] toBytes() {
    return Arrays.copyOf(data, size);
  }

  private void reserve(int more) {
    if (size + more > data.length) {
      data = Arrays.copyOf(data, Math.max(2 * data.length, size + more));
    }
  }

  void put(int each) {
    reserve(1);
    data[size++] = (byte) each;
  }

  void put(byte[] from) {
    put(from, 0, from.length);
  }

  void put(byte[] from, int start, int length) {
    reserve(length);
    System.arraycopy(from, start, data, size, length);
    size += length;
  }

  void put(Buffer from, int start, int length) {
    put(from.data, start, length);
  }

  /** 32 bits, little endian. */
  void putFloat(float number) {
    int bits = Float.floatToRawIntBits(number);
    reserve(4);
    for (int shift = 0; shift < 32; shift += 8) {
      data[size++] = (byte) (bits >>> shift);
    }
  }

  /** An unsigned number in groups of seven bits. */
  void putVarint(long number) {
    reserve(10);
    long rest = number;
    while ((rest & ~0x7FL) != 0) {
      data[size++] = (byte) (rest | 0x80);
      rest >>>= 7;
    }
    data[size++] = (byte) rest;
  }

  static int varintBytes(long number) {
    return number == 0 ? 1 : (70 - Long.numberOfLeadingZeros(number)) / 7;
  }
}

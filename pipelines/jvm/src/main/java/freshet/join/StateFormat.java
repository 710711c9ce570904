package freshet.join;

import java.nio.ByteBuffer;

/**
 * Operator state that begins with its version (u8); numbers are big endian.
 *
 * @param name what it is, for whoever has it refused
 */
record StateFormat(String name, int version) {
  /** Room for so many bytes after the version. */
  ByteBuffer begin(int bytes) {
    return ByteBuffer.allocate(1 + bytes).put((byte) version);
  }

  /** What comes after the version; an IllegalStateException when it is another. */
  ByteBuffer open(byte[] data) {
    ByteBuffer in = ByteBuffer.wrap(data);
    byte found = in.get();
    if (found != version) {
      throw new IllegalStateException(name + " of version " + found + ": this joiner reads version " + version);
    }
    return in;
  }
}

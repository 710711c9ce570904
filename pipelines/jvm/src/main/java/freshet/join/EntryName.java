package freshet.join;

import java.util.Arrays;

/** The name of a feature of an example, and the bytes that stand before its value. */
record EntryName(byte[] name, byte[] field) {
  private static final int NAME = 0x0a;
  private static final int VALUE = 0x12;

  static EntryName of(byte[] name) {
    Buffer field = new Buffer(name.length + 8);
    field.put(NAME);
    field.putVarint(name.length);
    field.put(name);
    field.put(VALUE);
    return new EntryName(name, field.toBytes());
  }

  boolean isAfter(byte[] other) {
    return Arrays.compareUnsigned(name, other) > 0;
  }
}

package freshet.join;

/** Writes the entries of the map that an example is. */
final class EntryWriter {
  private static final int ENTRY = 0x0a;
  private static final int VALUES = 0x0a;
  private static final int BYTES_LIST = 0x0a;
  private static final int FLOAT_LIST = 0x12;
  private static final int INT64_LIST = 0x1a;

  private final Buffer buffer = new Buffer(1 << 12);
  private final Buffer values = new Buffer(1 << 10);

  void clear() {
    buffer.clear();
  }

  int size() {
    return buffer.size();
  }

  /** All entries as one example. */
  byte[] toExample() {
    Buffer example = new Buffer(buffer.size() + 6);
    example.put(ENTRY);
    example.putVarint(buffer.size());
    example.put(buffer, 0, buffer.size());
    return example.toBytes();
  }

  /** Adds entries that another has written. */
  void copy(EntryWriter from, int start, int end) {
    buffer.put(from.buffer, start, end - start);
  }

  void putFloat(EntryName name, float number) {
    putHead(name, FLOAT_LIST, 2 + Float.BYTES);
    buffer.put(VALUES);
    buffer.put(Float.BYTES);
    buffer.putFloat(number);
  }

  void putInteger(EntryName name, long number) {
    int bytes = Buffer.varintBytes(number);
    putHead(name, INT64_LIST, 2 + bytes);
    buffer.put(VALUES);
    buffer.put(bytes);
    buffer.putVarint(number);
  }

  void putText(EntryName name, String text) {
    values.clear();
    putText(Utf8.bytes(text));
    putEntry(name, BYTES_LIST);
  }

  /**
   * The feature that stands among values; nothing when there is none, or an empty list. False: what is there is of another
   * type, for the job has been changed since it was accepted.
   */
  boolean putFeature(EntryName name, Source source, Json json, int object) {
    int node = json.get(object, source.keyBytes());
    if (node == Json.ABSENT) {
      return true;
    }
    if (!Features.isOf(source, json, node)) {
      return false;
    }
    if (!source.isMany()) {
      putOne(name, source.type(), json, node);
    } else if (json.length(node) > 0) {
      putMany(name, source.type(), json, node);
    }
    return true;
  }

  private void putOne(EntryName name, Settings.Type type, Json json, int node) {
    switch (type) {
      case INT -> putInteger(name, json.bits(node));
      case FLOAT -> putFloat(name, (float) json.number(node));
      case STRING -> {
        values.clear();
        putText(json.utf8(node));
        putEntry(name, BYTES_LIST);
      }
    }
  }

  private void putMany(EntryName name, Settings.Type type, Json json, int list) {
    values.clear();
    for (int node = list + 1; node < json.next(list); node = json.next(node)) {
      putValue(type, json, node);
    }
    switch (type) {
      case INT -> putPacked(name, INT64_LIST);
      case FLOAT -> putPacked(name, FLOAT_LIST);
      case STRING -> putEntry(name, BYTES_LIST);
    }
  }

  private void putValue(Settings.Type type, Json json, int node) {
    switch (type) {
      case INT -> values.putVarint(json.bits(node));
      case FLOAT -> values.putFloat((float) json.number(node));
      case STRING -> putText(json.utf8(node));
    }
  }

  private void putText(byte[] text) {
    values.put(VALUES);
    values.putVarint(text.length);
    values.put(text);
  }

  /** An entry of numbers, which stand without tags in one field. */
  private void putPacked(EntryName name, int list) {
    int listBytes = 1 + Buffer.varintBytes(values.size()) + values.size();
    putHead(name, list, listBytes);
    buffer.put(VALUES);
    buffer.putVarint(values.size());
    buffer.put(values, 0, values.size());
  }

  private void putEntry(EntryName name, int list) {
    putHead(name, list, values.size());
    buffer.put(values, 0, values.size());
  }

  private void putHead(EntryName name, int list, int listBytes) {
    int valueBytes = 1 + Buffer.varintBytes(listBytes) + listBytes;
    int entryBytes = name.field().length + Buffer.varintBytes(valueBytes) + valueBytes;
    buffer.put(ENTRY);
    buffer.putVarint(entryBytes);
    buffer.put(name.field());
    buffer.putVarint(valueBytes);
    buffer.put(list);
    buffer.putVarint(listBytes);
  }
}

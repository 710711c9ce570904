package freshet.join;

import java.nio.charset.StandardCharsets;
import java.util.Arrays;

/**
 * A JSON document as a flat list of nodes over its bytes, read anew with each {@link #parse}.
 *
 * <p>It takes what orjson takes and gives it the same meaning (integers of 64 bits, signed or not, beyond them doubles;
 * no NaN; no half characters), so that both engines agree on every event. No library for the JVM does: they differ in
 * what they take, and the sentence why not goes into dead letters.
 *
 * <p>A node is four numbers: its type, two that depend on the type, and the node behind it and all it holds. Members of
 * an object are a string and a value each.
 */
final class Json {
  static final int NULL = 0;
  static final int FALSE = 1;
  static final int TRUE = 2;
  /** 64 bits, signed. */
  static final int INT = 3;
  /** From 2^63 to 2^64 - 1. */
  static final int UINT = 4;

  static final int REAL = 5;
  /** As it stands between the quotes. */
  static final int STRING = 6;
  /** With escape sequences in it. */
  static final int ESCAPED = 7;

  static final int ARRAY = 8;
  static final int OBJECT = 9;
  /** What is not there. */
  static final int ABSENT = -1;

  private static final int WIDTH = 4;
  private static final int KEPT_NODES = 1 << 14;

  private byte[] data = {};
  private int[] nodes = new int[64 * WIDTH];
  private int size;
  private int depth;

  /** Reads a document; its nodes begin at 0. */
  Json parse(byte[] document) throws JsonException {
    data = document;
    size = 0;
    depth = 0;
    if (nodes.length > KEPT_NODES * WIDTH) {
      nodes = new int[KEPT_NODES * WIDTH];
    }
    depth = new JsonReader(this, document).read();
    return this;
  }

  int add(int type, int first, int second) {
    int node = size;
    if ((node + 1) * WIDTH > nodes.length) {
      nodes = Arrays.copyOf(nodes, 2 * nodes.length);
    }
    int at = node * WIDTH;
    nodes[at] = type;
    nodes[at + 1] = first;
    nodes[at + 2] = second;
    nodes[at + 3] = ++size;
    return node;
  }

  void add(int type, long bits) {
    add(type, (int) (bits >>> 32), (int) bits);
  }

  /** Begins a container whose bracket is at a byte; {@code level}: of so many, it is the innermost. */
  int open(int type, int start, int level) {
    depth = Math.max(depth, level);
    return add(type, 0, start);
  }

  /** Ends a container: what was added since is in it. */
  void close(int node, int length) {
    nodes[node * WIDTH + 1] = length;
    nodes[node * WIDTH + 3] = size;
  }

  /** How many containers stand in each other at most. */
  int depth() {
    return depth;
  }

  byte[] data() {
    return data;
  }

  int type(int node) {
    return node == ABSENT ? NULL : nodes[node * WIDTH];
  }

  /** The node behind this one and all it holds. */
  int next(int node) {
    return nodes[node * WIDTH + 3];
  }

  /** Elements of an array, members of an object; those that repeat a key count too. */
  int length(int node) {
    return nodes[node * WIDTH + 1];
  }

  /** The first byte of a string, behind its quote. */
  int start(int node) {
    return nodes[node * WIDTH + 1];
  }

  /** The byte behind a string: its quote. */
  int end(int node) {
    return nodes[node * WIDTH + 2];
  }

  /** The bits of a number: a long, or those of a double. */
  long bits(int node) {
    return (long) nodes[node * WIDTH + 1] << 32 | nodes[node * WIDTH + 2] & 0xFFFF_FFFFL;
  }

  /** The bytes of an array or object as it stands. */
  byte[] source(int container) {
    int start = nodes[container * WIDTH + 2];
    int end = start;
    int depth = 0;
    do {
      switch (data[end++]) {
        case '[', '{' -> depth++;
        case ']', '}' -> depth--;
        case '"' -> end = behindString(end);
        default -> {}
      }
    } while (depth > 0);
    return Arrays.copyOfRange(data, start, end);
  }

  private int behindString(int start) {
    int at = start;
    while (data[at] != '"') {
      at += data[at] == '\\' ? 2 : 1;
    }
    return at + 1;
  }

  boolean isString(int node) {
    int type = type(node);
    return type == STRING || type == ESCAPED;
  }

  boolean isInteger(int node) {
    int type = type(node);
    return type == INT || type == UINT;
  }

  /** A number as a double, rounded as Python's {@code float} rounds integers. */
  double number(int node) {
    return switch (type(node)) {
      case INT -> bits(node);
      case UINT -> unsignedToDouble(bits(node));
      default -> Double.longBitsToDouble(bits(node));
    };
  }

  private static double unsignedToDouble(long bits) {
    // Halved with its last bit kept, so that rounding happens once.
    return (double) (bits >>> 1 | bits & 1) * 2.0;
  }

  /** The value of a key, unless it is null; {@link #ABSENT}: there is none. */
  int get(int object, byte[] key) {
    int found = find(object, key);
    return type(found) == NULL ? ABSENT : found;
  }

  /** The value of a key, of repeated ones the last; {@link #ABSENT}: there is none. */
  int find(int object, byte[] key) {
    if (object == ABSENT) {
      return ABSENT;
    }
    int found = ABSENT;
    int end = next(object);
    for (int node = object + 1; node < end; node = next(node + 1)) {
      if (isKey(node, key)) {
        found = node + 1;
      }
    }
    return found;
  }

  private boolean isKey(int node, byte[] key) {
    if (type(node) == ESCAPED) {
      return Arrays.equals(utf8(node), key);
    }
    int at = start(node);
    if (end(node) - at != key.length) {
      return false;
    }
    // Keys are short: a library's comparison costs more in checks than it saves.
    for (byte each : key) {
      if (data[at++] != each) {
        return false;
      }
    }
    return true;
  }

  /** The bytes of a string. */
  byte[] utf8(int node) {
    if (type(node) == STRING) {
      return Arrays.copyOfRange(data, start(node), end(node));
    }
    byte[] out = new byte[end(node) - start(node)];
    return Arrays.copyOf(out, JsonEscapes.undo(data, start(node), end(node), out));
  }

  String text(int node) {
    if (type(node) == STRING) {
      return new String(data, start(node), end(node) - start(node), StandardCharsets.UTF_8);
    }
    return new String(utf8(node), StandardCharsets.UTF_8);
  }
}

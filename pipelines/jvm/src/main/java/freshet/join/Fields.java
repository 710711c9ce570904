package freshet.join;

import java.nio.charset.StandardCharsets;

/** The fields of raw events: what they have to be, and the sentence when they are not. */
final class Fields {
  static final byte[] REQUEST_ID = key("request_id");
  static final byte[] ITEM_ID = key("item_id");
  static final byte[] TS = key("ts");
  static final byte[] USER = key("user");
  static final byte[] CONTEXT = key("context");
  static final byte[] ITEMS = key("items");
  static final byte[] ACTION = key("action");
  static final byte[] VALUE = key("value");
  static final byte[] SCORES = key("scores");

  /** Of {@code request_id} and {@code item_id}: both stand in every example, and one is the key of messages. */
  private static final int MAX_ID_CHARACTERS = 512;

  private Fields() {}

  private static byte[] key(String name) {
    return name.getBytes(StandardCharsets.UTF_8);
  }

  /** The document of an event, which has to be an object. */
  static void parse(Json json, byte[] value) throws MalformedEvent {
    try {
      json.parse(value);
    } catch (JsonException problem) {
      throw MalformedEvent.malformed("not JSON: " + problem.getMessage());
    }
    if (json.type(0) != Json.OBJECT) {
      throw wrong("the event", "an object", json, 0);
    }
  }

  static int optionalObject(Json json, byte[] key) throws MalformedEvent {
    int node = json.get(0, key);
    if (node != Json.ABSENT && json.type(node) != Json.OBJECT) {
      throw wrong(text(key), "an object", json, node);
    }
    return node;
  }

  static int list(Json json, byte[] key) throws MalformedEvent {
    int node = present(json, key);
    if (json.type(node) != Json.ARRAY) {
      throw wrong(text(key), "a list", json, node);
    }
    return node;
  }

  static EventTime time(Json json) throws MalformedEvent {
    int node = present(json, TS);
    if (!json.isInteger(node)) {
      throw wrong("ts", "an integer", json, node);
    }
    return EventTime.of(json, node);
  }

  static String string(Json json, byte[] key) throws MalformedEvent {
    int node = present(json, key);
    if (!json.isString(node)) {
      throw wrong(text(key), "a string", json, node);
    }
    return json.text(node);
  }

  private static int present(Json json, byte[] key) throws MalformedEvent {
    int node = json.get(0, key);
    if (node == Json.ABSENT) {
      throw MalformedEvent.malformed("`" + text(key) + "` is missing");
    }
    return node;
  }

  static String requestId(Json json) throws MalformedEvent {
    String requestId = string(json, REQUEST_ID);
    checkLength("request_id", requestId);
    return requestId;
  }

  /** The id of an item or an action; {@code position} -1: of an action. */
  static String itemId(Json json, int values, int position) throws MalformedEvent {
    int node = json.get(values, ITEM_ID);
    switch (json.type(node)) {
      case Json.INT:
        return Long.toString(json.bits(node));
      case Json.UINT:
        return Long.toUnsignedString(json.bits(node));
      case Json.STRING, Json.ESCAPED:
        String itemId = json.text(node);
        if (itemId.length() > MAX_ID_CHARACTERS) {
          checkLength(itemPath(position), itemId);
        }
        return itemId;
      case Json.NULL:
        throw MalformedEvent.malformed("`" + itemPath(position) + "` is missing");
      default:
        throw wrong(itemPath(position), "a string", json, node);
    }
  }

  private static String itemPath(int position) {
    return position < 0 ? "item_id" : "items[" + position + "].item_id";
  }

  private static void checkLength(String path, String id) throws MalformedEvent {
    int characters = id.codePointCount(0, id.length());
    if (characters > MAX_ID_CHARACTERS) {
      String sentence = "`" + path + "` has " + characters + " characters; at most " + MAX_ID_CHARACTERS + " are taken";
      throw new MalformedEvent("too-large", sentence);
    }
  }

  /** A number that 32 bits can hold. */
  static double number(String path, Json json, int node) throws MalformedEvent {
    if (json.type(node) != Json.REAL && !json.isInteger(node)) {
      throw wrong(path, "a number", json, node);
    }
    double number = json.number(node);
    if (!(Math.abs(number) <= Float.MAX_VALUE)) {
      throw MalformedEvent.malformed("`" + path + "` is " + Quotes.text(json, node) + ": examples hold 32-bit floats");
    }
    return number;
  }

  static MalformedEvent wrong(String path, String expected, Json json, int node) {
    return MalformedEvent.malformed("`" + path + "` is " + Quotes.quote(json, node) + ", not " + expected);
  }

  private static String text(byte[] key) {
    return new String(key, StandardCharsets.UTF_8);
  }
}

package freshet.join;

/** Reads one document into a {@link Json}. The order of checks is that of yyjson, which orjson reads with. */
final class JsonReader {
  private static final int MAX_DEPTH = 1024;
  private static final String NO_VALUE = "unexpected character, expected a JSON value";
  private static final String TRAILING = "trailing comma is not allowed";
  private static final String CUT_SHORT = "unexpected end of data";

  private final Json json;
  private final byte[] data;
  private final int end;
  private int at;
  private int depth;
  private int deepest;

  JsonReader(Json json, byte[] data) {
    this.json = json;
    this.data = data;
    this.end = data.length;
  }

  /** Returns how many containers stand in each other at most. */
  int read() throws JsonException {
    if (end == 0) {
      throw new JsonException("Input is a zero-length, empty document", 1, 1, 0);
    }
    if (!Utf8.isValid(data)) {
      throw new JsonException("str is not valid UTF-8: surrogates not allowed", 1, 1, 0);
    }
    skipSpace();
    if (at == end) {
      throw problem(0, "input data is empty");
    }
    value();
    skipSpace();
    if (at < end) {
      throw problem(at, "unexpected content after document");
    }
    return deepest;
  }

  private void value() throws JsonException {
    switch (peek()) {
      case '{' -> object();
      case '[' -> array();
      case '"' -> string();
      case 't' -> literal("true", Json.TRUE);
      case 'f' -> literal("false", Json.FALSE);
      case 'n' -> literal("null", Json.NULL);
      case '-', '+', '.', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9' -> at = new JsonNumber(data, at).read(this);
      default -> throw noValue();
    }
  }

  private JsonException noValue() {
    boolean isMark = at == 0 && end >= 3 && data[0] == (byte) 0xEF && data[1] == (byte) 0xBB && data[2] == (byte) 0xBF;
    return problem(at, isMark ? "UTF-8 byte order mark (BOM) is not supported" : NO_VALUE);
  }

  private void array() throws JsonException {
    int node = open(Json.ARRAY);
    int length = 0;
    skipSpace();
    if (peek() != ']') {
      int comma = at;
      do {
        skipSpace();
        if (length > 0 && peek() == ']') {
          throw problem(comma, TRAILING);
        }
        value();
        length++;
        skipSpace();
        comma = at;
      } while (goesOn(']', "unexpected character, expected ',' or ']'"));
    } else {
      at++;
    }
    close(node, length);
  }

  private void object() throws JsonException {
    int node = open(Json.OBJECT);
    int length = 0;
    skipSpace();
    if (peek() != '}') {
      int comma = at;
      do {
        skipSpace();
        if (length > 0 && peek() == '}') {
          throw problem(comma, TRAILING);
        }
        member();
        length++;
        skipSpace();
        comma = at;
      } while (goesOn('}', "unexpected character, expected ',' or '}'"));
    } else {
      at++;
    }
    close(node, length);
  }

  private void member() throws JsonException {
    if (peek() != '"') {
      throw problem(at, "unexpected character, expected a string key");
    }
    string();
    skipSpace();
    if (peek() != ':') {
      throw problem(at, "unexpected character, expected ':' after key");
    }
    at++;
    skipSpace();
    value();
  }

  private int open(int type) throws JsonException {
    int start = at++;
    if (++depth > deepest) {
      deepest = depth;
      if (depth > MAX_DEPTH) {
        throw problem(at, "depth limit exceeded");
      }
    }
    return json.open(type, start, depth);
  }

  private void close(int node, int length) {
    depth--;
    json.close(node, length);
  }

  private boolean goesOn(char closing, String otherwise) throws JsonException {
    int next = peek();
    if (next != ',' && next != closing) {
      throw problem(at, otherwise);
    }
    at++;
    return next == ',';
  }

  private void literal(String word, int type) throws JsonException {
    for (int letter = 1; letter < word.length(); letter++) {
      if (at + letter == end) {
        throw problem(end, CUT_SHORT);
      }
      if (data[at + letter] != word.charAt(letter)) {
        throw problem(at, "invalid literal, expected '" + word + "'");
      }
    }
    at += word.length();
    json.add(type, 0, 0);
  }

  private void string() throws JsonException {
    int start = at + 1;
    int type = Json.STRING;
    int place = start;
    while (place < end && data[place] != '"') {
      if (data[place] == '\\') {
        type = Json.ESCAPED;
        place = new JsonEscape(data, place).check(this);
      } else if (data[place] >= 0 && data[place] < ' ') {
        throw problem(place, "unexpected control character in string");
      } else {
        place++;
      }
    }
    if (place == end) {
      throw problem(end, CUT_SHORT);
    }
    json.add(type, start, place);
    at = place + 1;
  }

  void add(int type, long bits) {
    json.add(type, bits);
  }

  private int peek() {
    return at < end ? data[at] : -1;
  }

  private void skipSpace() {
    while (at < end && (data[at] == ' ' || data[at] == '\n' || data[at] == '\r' || data[at] == '\t')) {
      at++;
    }
  }

  /** What is wrong at a byte; behind the last one, only that there are no more. */
  JsonException problem(int place, String problem) {
    int lineStart = 0;
    int line = 1;
    for (int each = 0; each < place; each++) {
      if (data[each] == '\n') {
        lineStart = each + 1;
        line++;
      }
    }
    int column = Utf8.characters(data, lineStart, place) + 1;
    return new JsonException(place == end ? CUT_SHORT : problem, line, column, Utf8.characters(data, 0, place));
  }
}

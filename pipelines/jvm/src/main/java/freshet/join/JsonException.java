package freshet.join;

/** Bytes that are no JSON. The message is the one that orjson gives. */
final class JsonException extends Exception {
  private static final long serialVersionUID = 1L;

  JsonException(String problem, int line, int column, int character) {
    super(problem + ": line " + line + " column " + column + " (char " + character + ")", null, false, false);
  }
}

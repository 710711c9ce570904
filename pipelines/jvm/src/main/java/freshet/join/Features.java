package freshet.join;

/** Checks the features that stand among the values of one origin: what is accepted may be encoded days later. */
final class Features {
  static final int MAX_LIST_VALUES = 1024;

  private Features() {}

  static void check(Source[] sources, Json json, int values) throws MalformedEvent {
    for (Source source : sources) {
      int node = json.get(values, source.keyBytes());
      if (node != Json.ABSENT) {
        check(source, json, node);
      }
    }
  }

  private static void check(Source source, Json json, int node) throws MalformedEvent {
    if (source.isMany()) {
      checkList(source, json, node);
    } else {
      checkScalar(source, json, node);
    }
  }

  /** Whether a value is what a feature has to be. */
  static boolean isOf(Source source, Json json, int node) {
    try {
      check(source, json, node);
      return true;
    } catch (MalformedEvent wrong) {
      return false;
    }
  }

  private static void checkList(Source source, Json json, int list) throws MalformedEvent {
    if (json.type(list) != Json.ARRAY) {
      throw Fields.wrong(source.key(), "a list", json, list);
    }
    if (json.length(list) > MAX_LIST_VALUES) {
      throw MalformedEvent.malformed(
          "`" + source.key() + "` has " + json.length(list) + " values: lists end at " + MAX_LIST_VALUES);
    }
    for (int node = list + 1; node < json.next(list); node = json.next(node)) {
      checkScalar(source, json, node);
    }
  }

  private static void checkScalar(Source source, Json json, int node) throws MalformedEvent {
    switch (source.type()) {
      case FLOAT -> Fields.number(source.key(), json, node);
      case INT -> checkInteger(source.key(), json, node);
      case STRING -> {
        if (!json.isString(node)) {
          throw Fields.wrong(source.key(), "a string", json, node);
        }
      }
    }
  }

  private static void checkInteger(String key, Json json, int node) throws MalformedEvent {
    if (!json.isInteger(node)) {
      throw Fields.wrong(key, "an integer", json, node);
    }
    if (json.type(node) == Json.UINT) {
      throw MalformedEvent.malformed(
          "`" + key + "` is " + Quotes.text(json, node) + ": integers end at " + Long.MAX_VALUE);
    }
  }
}

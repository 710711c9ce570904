package freshet.join;

import java.math.BigInteger;

/** Reads events of {@code features}. What it returns holds until it reads the next. */
final class RequestReader {
  private static final long MAX_CROSS_VALUES = 4096;
  private static final int[] NO_ITEMS = {};
  private static final String[] NO_IDS = {};

  private final Schema schema;
  private final Json json = new Json();
  private final int[] lengths;

  RequestReader(Schema schema) {
    this.schema = schema;
    this.lengths = new int[schema.features()];
  }

  /** An event with every feature of the schema checked. */
  Request read(byte[] value) throws MalformedEvent {
    Request request = parse(value);
    Features.check(schema.user(), json, request.user());
    Features.check(schema.context(), json, request.context());
    for (int item : request.items()) {
      Features.check(schema.item(), json, item);
      Score.of(json, item);
    }
    if (schema.crosses().length > 0) {
      checkCrosses(request);
    }
    return request;
  }

  /** An event by its form alone. */
  Request parse(byte[] value) throws MalformedEvent {
    Fields.parse(json, value);
    int user = Fields.optionalObject(json, Fields.USER);
    int context = Fields.optionalObject(json, Fields.CONTEXT);
    int list = Fields.list(json, Fields.ITEMS);
    int length = json.length(list);
    if (length == 0) {
      return new Request(json, "", Fields.time(json), user, context, NO_ITEMS, NO_IDS);
    }
    int[] items = new int[length];
    String[] itemIds = new String[length];
    int node = list + 1;
    for (int position = 0; position < length; position++, node = json.next(node)) {
      if (json.type(node) != Json.OBJECT) {
        throw Fields.wrong("items[" + position + "]", "an object", json, node);
      }
      items[position] = node;
      itemIds[position] = Fields.itemId(json, node, position);
    }
    return new Request(json, Fields.requestId(json), Fields.time(json), user, context, items, itemIds);
  }

  private void checkCrosses(Request request) throws MalformedEvent {
    measure(schema.user(), request.user());
    measure(schema.context(), request.context());
    for (int item : request.items()) {
      measure(schema.item(), item);
      for (Schema.ListCross cross : schema.crosses()) {
        BigInteger combinations = BigInteger.ONE;
        for (int feature : cross.features()) {
          combinations = combinations.multiply(BigInteger.valueOf(lengths[feature]));
        }
        if (combinations.compareTo(BigInteger.valueOf(MAX_CROSS_VALUES)) > 0) {
          throw MalformedEvent.malformed(
              "cross `" + cross.name() + "` has " + combinations + " combinations: crosses end at " + MAX_CROSS_VALUES);
        }
      }
    }
  }

  /** An empty or absent list counts as one missing value. */
  private void measure(Source[] sources, int values) {
    for (Source source : sources) {
      if (source.isMany()) {
        int list = json.get(values, source.keyBytes());
        lengths[source.feature()] = list == Json.ABSENT ? 1 : Math.max(1, json.length(list));
      }
    }
  }
}

package freshet.join;

import dev.cel.common.values.NullValue;
import java.util.AbstractMap;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Set;

/** An object as expressions see it, every number a double: only what is asked for is read. */
final class JsonMap extends AbstractMap<String, Object> {
  /** Objects and lists that are nested deeper are null to expressions. */
  private static final int MAX_DEPTH = 16;

  private final Json json;
  private final int object;
  private final int depth;

  /** {@code object} may be absent. */
  JsonMap(Json json, int object, int depth) {
    this.json = json;
    this.object = object;
    this.depth = depth;
  }

  /** A value of an event that stands in so many containers. */
  static Object value(Json json, int node, int depth) {
    return switch (json.type(node)) {
      case Json.NULL -> NullValue.NULL_VALUE;
      case Json.TRUE -> true;
      case Json.FALSE -> false;
      case Json.STRING, Json.ESCAPED -> json.text(node);
      case Json.ARRAY -> depth < MAX_DEPTH ? JsonList.of(json, node, depth + 1) : NullValue.NULL_VALUE;
      case Json.OBJECT -> depth < MAX_DEPTH ? new JsonMap(json, node, depth + 1) : NullValue.NULL_VALUE;
      default -> json.number(node);
    };
  }

  private int find(Object key) {
    return key instanceof String text ? json.find(object, Utf8.bytes(text)) : Json.ABSENT;
  }

  @Override
  public boolean containsKey(Object key) {
    return find(key) != Json.ABSENT;
  }

  @Override
  public Object get(Object key) {
    int node = find(key);
    return node == Json.ABSENT ? null : value(json, node, depth);
  }

  @Override
  public Set<Map.Entry<String, Object>> entrySet() {
    Map<String, Object> entries = new LinkedHashMap<>();
    if (object != Json.ABSENT) {
      Quotes.members(json, object).forEach((key, node) -> entries.put(key, value(json, node, depth)));
    }
    return entries.entrySet();
  }
}

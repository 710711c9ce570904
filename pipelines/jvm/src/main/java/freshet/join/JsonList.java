package freshet.join;

import java.util.AbstractList;
import java.util.RandomAccess;

/** A list as expressions see it. */
final class JsonList extends AbstractList<Object> implements RandomAccess {
  private final Json json;
  private final int[] nodes;
  private final int depth;

  private JsonList(Json json, int[] nodes, int depth) {
    this.json = json;
    this.nodes = nodes;
    this.depth = depth;
  }

  static JsonList of(Json json, int array, int depth) {
    int[] nodes = new int[json.length(array)];
    int node = array + 1;
    for (int place = 0; place < nodes.length; place++, node = json.next(node)) {
      nodes[place] = node;
    }
    return new JsonList(json, nodes, depth);
  }

  @Override
  public Object get(int place) {
    return JsonMap.value(json, nodes[place], depth);
  }

  @Override
  public int size() {
    return nodes.length;
  }
}

package freshet.join;

import java.util.Arrays;
import java.util.HashSet;
import java.util.Set;

/**
 * One event of {@code features}, over the nodes of its document: it holds until another is read. Without items it is a
 * heartbeat.
 *
 * @param ts event time in ms
 * @param items the node of each item
 * @param itemIds in decimal where they were integers
 */
record Request(Json json, String requestId, EventTime ts, int user, int context, int[] items, String[] itemIds) {

  long tsMs() {
    return ts.ms();
  }

  /** Where an item stands, of those with the same id the first; -1: nowhere. */
  int position(String itemId) {
    for (int position = 0; position < itemIds.length; position++) {
      if (itemIds[position].equals(itemId)) {
        return position;
      }
    }
    return -1;
  }

  /** The positions of all items; of those with the same id, of the first. */
  int[] distinct() {
    Set<String> seen = new HashSet<>();
    int[] positions = new int[itemIds.length];
    int count = 0;
    for (int position = 0; position < itemIds.length; position++) {
      if (seen.add(itemIds[position])) {
        positions[count++] = position;
      }
    }
    return Arrays.copyOf(positions, count);
  }
}

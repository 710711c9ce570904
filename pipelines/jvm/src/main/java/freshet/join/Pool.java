package freshet.join;

import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/** The items shown last, in order of arrival: the more often one was shown, the more often it is among them. */
final class Pool {
  /** Items that are longer on average are fewer: what is remembered must fit into memory. */
  private static final long PLACE_BYTES = 1024;

  private final Pooled[] ring;
  private final Map<String, Integer> times = new HashMap<>();
  private int oldest;
  private int size;
  private long bytes;

  Pool(int capacity) {
    ring = new Pooled[capacity];
  }

  int size() {
    return size;
  }

  /** Index 0 is the oldest. */
  Pooled get(int index) {
    return ring[(oldest + index) % ring.length];
  }

  /** Of all of them, how many are an item; from 0 to 1. */
  float share(String itemId) {
    return (float) ((double) times.getOrDefault(itemId, 0) / size);
  }

  void add(Pooled item) {
    if (size == ring.length) {
      forgetOldest();
    }
    ring[(oldest + size++) % ring.length] = item;
    times.merge(item.itemId(), 1, Integer::sum);
    bytes += item.json().length;
    while (bytes > PLACE_BYTES * ring.length) {
      forgetOldest();
    }
  }

  private void forgetOldest() {
    Pooled item = ring[oldest];
    ring[oldest] = null;
    oldest = (oldest + 1) % ring.length;
    size--;
    bytes -= item.json().length;
    times.computeIfPresent(item.itemId(), (id, count) -> count == 1 ? null : count - 1);
  }

  List<Pooled> items() {
    List<Pooled> items = new ArrayList<>(size);
    for (int index = 0; index < size; index++) {
      items.add(get(index));
    }
    return items;
  }

  /** Takes up what one pool, or several, had remembered. */
  void restore(List<Pooled> items) {
    items.stream().sorted(Comparator.comparingLong(Pooled::shownMs)).forEach(this::add);
  }
}

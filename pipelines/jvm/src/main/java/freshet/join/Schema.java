package freshet.join;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/** The features of each origin, and the crosses that lists are part of. */
final class Schema {
  /** A cross and its features that are lists, by their numbers. */
  record ListCross(String name, int[] features) {}

  private final Source[] user;
  private final Source[] context;
  private final Source[] item;
  private final ListCross[] crosses;
  private final int features;

  Schema(Settings settings) {
    features = settings.features().size();
    user = of("user", settings.features());
    context = of("context", settings.features());
    item = of("item", settings.features());
    crosses = crosses(settings);
  }

  private static Source[] of(String origin, List<Settings.Feature> features) {
    List<Source> sources = new ArrayList<>();
    for (int number = 0; number < features.size(); number++) {
      if (features.get(number).origin().equals(origin)) {
        sources.add(Source.of(number, features.get(number)));
      }
    }
    return sources.toArray(Source[]::new);
  }

  private static ListCross[] crosses(Settings settings) {
    Map<String, Integer> lists = new HashMap<>();
    for (int number = 0; number < settings.features().size(); number++) {
      if (settings.features().get(number).isMany()) {
        lists.put(settings.features().get(number).name(), number);
      }
    }
    return settings.crosses().stream()
        .map(cross -> new ListCross(cross.name(), cross.of().stream().filter(lists::containsKey).mapToInt(lists::get).toArray()))
        .filter(cross -> cross.features().length > 0)
        .toArray(ListCross[]::new);
  }

  Source[] user() {
    return user;
  }

  Source[] context() {
    return context;
  }

  Source[] item() {
    return item;
  }

  ListCross[] crosses() {
    return crosses;
  }

  int features() {
    return features;
  }
}

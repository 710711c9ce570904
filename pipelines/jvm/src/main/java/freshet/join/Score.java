package freshet.join;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;

/** What an item had been scored. */
record Score(byte[] name, float value) {

  /** The scores of an item in order of name; null ones are left out. */
  static List<Score> of(Json json, int item) throws MalformedEvent {
    int scores = json.get(item, Fields.SCORES);
    if (scores == Json.ABSENT) {
      return List.of();
    }
    if (json.type(scores) != Json.OBJECT) {
      throw Fields.wrong("scores", "an object", json, scores);
    }
    List<Score> read = new ArrayList<>(json.length(scores));
    for (Map.Entry<String, Integer> member : Quotes.members(json, scores).entrySet()) {
      if (json.type(member.getValue()) != Json.NULL) {
        double value = Fields.number("scores." + member.getKey(), json, member.getValue());
        read.add(new Score(member.getKey().getBytes(StandardCharsets.UTF_8), (float) value));
      }
    }
    read.sort((one, other) -> Arrays.compareUnsigned(one.name, other.name));
    return read;
  }
}

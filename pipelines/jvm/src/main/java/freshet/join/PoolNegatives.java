package freshet.join;

import java.util.ArrayList;
import java.util.List;

/** Negatives drawn from the items shown of late, for retrieval models; each says how likely a draw is to give its item. */
final class PoolNegatives {
  /** What a message has beside an example: its key, and what Kafka adds. */
  private static final int MARGIN_BYTES = 1 << 13;

  private final Pool pool;
  private final Label label;
  private final int draws;
  private final String seed;
  private final int maxBytes;
  private final Json json = new Json();

  PoolNegatives(Settings settings, Pool pool) {
    this.pool = pool;
    label = settings.labels().get(settings.joiner().pool().label());
    draws = settings.joiner().pool().negatives();
    seed = settings.seed() + "\0";
    maxBytes = settings.kafka().maxMessageBytes() - MARGIN_BYTES;
  }

  /** Remembers the items of a request. */
  void show(Request request, int[] positions, long nowMs) {
    for (int position : positions) {
      pool.add(new Pooled(request.itemIds()[position], request.json().source(request.items()[position]), nowMs));
    }
  }

  /** The examples that go with a lesson; {@code state}: before it. None, unless it teaches the label at once, and anew. */
  List<ExampleEncoder.Encoded> of(
      Lesson lesson, State.Waiting state, Request request, ExampleEncoder encoder, long nowMs) {
    List<ExampleEncoder.Encoded> examples = new ArrayList<>();
    Taken taken = lesson.taken(label.index());
    if (taken == null || !label.isInWindow(state, taken) || !Float.isNaN(lesson.was(label.index()))) {
      return examples;
    }
    String positive = request.itemIds()[lesson.position()];
    String text = seed + request.requestId() + "\0" + positive + "\0";
    for (int draw = 0; draw < draws && pool.size() > 0; draw++) {
      Pooled drawn = pool.get((int) Long.remainderUnsigned(Blake2b.digest(Utf8.bytes(text + draw)), pool.size()));
      if (!drawn.itemId().equals(positive)) {
        ExampleEncoder.Encoded example =
            encoder.encodeDrawn(read(drawn), drawn.itemId(), pool.share(drawn.itemId()), positive, request, nowMs);
        // Its item and its user have not been seen together before: they may be too long for one message.
        if (example.data().length <= maxBytes) {
          examples.add(example);
        }
      }
    }
    return examples;
  }

  private Json read(Pooled item) {
    try {
      return json.parse(item.json());
    } catch (JsonException problem) {
      throw new IllegalStateException("an item that had been accepted: " + problem.getMessage(), problem);
    }
  }
}

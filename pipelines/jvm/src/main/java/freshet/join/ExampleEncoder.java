package freshet.join;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;

/**
 * Lessons as serialized {@code tf.train.Example}s: the bytes of {@code pipelines/codec.py}, features in order of name.
 *
 * <p>The features of user and context are the same in all examples of a request: they are encoded once.
 */
final class ExampleEncoder {
  /** A serialized example, and how many values it lacks since they have the wrong type by now. */
  record Encoded(byte[] data, int leftOut) {}

  /** What an entry of an example is of; {@code source} of a feature, {@code label} of a label's. */
  private record Entry(EntryName name, Kind kind, Source source, Label label) {}

  private enum Kind {
    SHARED,
    ITEM,
    LABEL,
    MASK,
    WAS,
    OTHERWISE,
    SAMPLING_RATE,
    REQUEST_ID,
    ITEM_ID,
    TS,
    JOINED_TS,
    ACTION_TS,
    ACTION_LOGGED_TS,
    POOL_PROBABILITY,
    POOL_FOR
  }

  /**
   * What an example says of its item; {@code lesson} and {@code state} null: nothing of its labels.
   *
   * @param poolProbability of a drawn item; else 0
   */
  private record Content(
      Json json,
      int item,
      String itemId,
      float samplingRate,
      Lesson lesson,
      State.Waiting state,
      float poolProbability,
      String poolFor) {}

  private static final byte[] SCORE = Utf8.bytes("score:");

  private final Entry[] entries;
  private final EntryWriter shared = new EntryWriter();
  private final EntryWriter out = new EntryWriter();
  /** Where the entry of each shared feature begins and ends. */
  private final int[] sharedPlaces;

  private Request sharedOf;
  private int sharedLeftOut;

  ExampleEncoder(Settings settings, Schema schema) {
    Map<byte[], Entry> byName = new TreeMap<>(Arrays::compareUnsigned);
    addFeatures(byName, settings, schema.user(), Kind.SHARED);
    addFeatures(byName, settings, schema.context(), Kind.SHARED);
    addFeatures(byName, settings, schema.item(), Kind.ITEM);
    for (Label label : settings.labels()) {
      add(byName, "label:" + label.name(), Kind.LABEL, null, label);
      add(byName, "mask:" + label.name(), Kind.MASK, null, label);
      add(byName, "was:" + label.name(), Kind.WAS, null, label);
      add(byName, "otherwise:" + label.name(), Kind.OTHERWISE, null, label);
    }
    for (Kind kind : Kind.values()) {
      if (kind.compareTo(Kind.SAMPLING_RATE) >= 0) {
        add(byName, kind.name().toLowerCase(java.util.Locale.ROOT), kind, null, null);
      }
    }
    entries = byName.values().toArray(Entry[]::new);
    sharedPlaces = new int[2 * schema.features()];
  }

  private static void addFeatures(Map<byte[], Entry> byName, Settings settings, Source[] sources, Kind kind) {
    for (Source source : sources) {
      add(byName, settings.features().get(source.feature()).name(), kind, source, null);
    }
  }

  private static void add(Map<byte[], Entry> byName, String name, Kind kind, Source source, Label label) {
    EntryName entryName = EntryName.of(Utf8.bytes(name));
    byName.put(entryName.name(), new Entry(entryName, kind, source, label));
  }

  /** An example of a lesson; {@code state}: what is known of the other labels. */
  Encoded encode(Lesson lesson, Request request, State.Waiting state, float samplingRate, long nowMs) {
    int item = request.items()[lesson.position()];
    String itemId = request.itemIds()[lesson.position()];
    return encode(new Content(request.json(), item, itemId, samplingRate, lesson, state, 0.0f, null), request, nowMs);
  }

  /** An example of a drawn item, which is the document {@code item}; {@code poolFor}: the positive it goes with. */
  Encoded encodeDrawn(
      Json item, String itemId, float poolProbability, String poolFor, Request request, long nowMs) {
    return encode(new Content(item, 0, itemId, 1.0f, null, null, poolProbability, poolFor), request, nowMs);
  }

  private Encoded encode(Content content, Request request, long nowMs) {
    share(request);
    int leftOut = sharedLeftOut;
    List<Score> scores = content.lesson() == null ? List.of() : scores(content.json(), content.item());
    int nextScore = 0;
    out.clear();
    for (Entry entry : entries) {
      while (nextScore < scores.size() && entry.name().isAfter(scores.get(nextScore).name())) {
        out.putFloat(EntryName.of(scores.get(nextScore).name()), scores.get(nextScore++).value());
      }
      if (entry.kind() == Kind.SHARED) {
        copyShared(entry.source().feature());
      } else if (entry.kind() == Kind.ITEM) {
        leftOut += out.putFeature(entry.name(), entry.source(), content.json(), content.item()) ? 0 : 1;
      } else if (entry.label() != null) {
        putLabel(entry, content);
      } else {
        putFact(entry, content, request, nowMs);
      }
    }
    for (Score score : scores.subList(nextScore, scores.size())) {
      out.putFloat(EntryName.of(score.name()), score.value());
    }
    return new Encoded(out.toExample(), leftOut);
  }

  private void share(Request request) {
    if (sharedOf == request) {
      return;
    }
    shared.clear();
    sharedLeftOut = 0;
    for (Entry entry : entries) {
      if (entry.kind() == Kind.SHARED) {
        int values = entry.source().isOfUser() ? request.user() : request.context();
        sharedPlaces[2 * entry.source().feature()] = shared.size();
        sharedLeftOut += shared.putFeature(entry.name(), entry.source(), request.json(), values) ? 0 : 1;
        sharedPlaces[2 * entry.source().feature() + 1] = shared.size();
      }
    }
    sharedOf = request;
  }

  private void copyShared(int feature) {
    out.copy(shared, sharedPlaces[2 * feature], sharedPlaces[2 * feature + 1]);
  }

  private void putLabel(Entry entry, Content content) {
    Lesson lesson = content.lesson();
    Label label = entry.label();
    boolean teaches = lesson != null && lesson.teaches(label.index());
    switch (entry.kind()) {
      case LABEL -> out.putFloat(entry.name(), teaches ? lesson.value(label) : known(label, content));
      case MASK -> out.putFloat(entry.name(), teaches ? 1.0f : 0.0f);
      case WAS -> {
        if (lesson != null && !Float.isNaN(lesson.was(label.index()))) {
          out.putFloat(entry.name(), lesson.was(label.index()));
        }
      }
      default -> {
        if (lesson != null && label.isNumber() && lesson.isOtherwise(label.index())) {
          out.putFloat(entry.name(), 1.0f);
        }
      }
    }
  }

  private static float known(Label label, Content content) {
    return content.lesson() == null ? 0.0f : label.known(content.state(), content.lesson().position());
  }

  private void putFact(Entry entry, Content content, Request request, long nowMs) {
    Lesson lesson = content.lesson();
    switch (entry.kind()) {
      case SAMPLING_RATE -> out.putFloat(entry.name(), content.samplingRate());
      case REQUEST_ID -> out.putText(entry.name(), request.requestId());
      case ITEM_ID -> out.putText(entry.name(), content.itemId());
      case TS -> out.putInteger(entry.name(), request.tsMs());
      case JOINED_TS -> out.putInteger(entry.name(), nowMs);
      case ACTION_TS -> out.putInteger(entry.name(), lesson == null ? 0 : lesson.actionTsMs());
      case ACTION_LOGGED_TS -> out.putInteger(entry.name(), lesson == null ? 0 : lesson.actionLoggedTsMs());
      default -> putDraw(entry, content);
    }
  }

  private void putDraw(Entry entry, Content content) {
    if (content.poolFor() != null) {
      if (entry.kind() == Kind.POOL_FOR) {
        out.putText(entry.name(), content.poolFor());
      } else {
        out.putFloat(entry.name(), content.poolProbability());
      }
    }
  }

  private static List<Score> scores(Json json, int item) {
    try {
      List<Score> scores = new ArrayList<>();
      for (Score score : Score.of(json, item)) {
        Buffer name = new Buffer(SCORE.length + score.name().length);
        name.put(SCORE);
        name.put(score.name());
        scores.add(new Score(name.toBytes(), score.value()));
      }
      return scores;
    } catch (MalformedEvent refusal) {
      throw new IllegalStateException("scores that had been accepted: " + refusal.detail(), refusal);
    }
  }
}

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
    ACTION_LOGGED_TS
  }

  private static final byte[] SCORE = Utf8.bytes("score:");

  private final Entry[] entries;
  private final EntryWriter shared = new EntryWriter();
  private final EntryWriter out = new EntryWriter();
  /** Where the entry of each shared feature begins and ends. */
  private final int[] sharedPlaces;

  private Request sharedOf;

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
  byte[] encode(Lesson lesson, Request request, State.Waiting state, float samplingRate, long nowMs) {
    share(request);
    int position = lesson.position();
    int item = request.items()[position];
    List<Score> scores = scores(request.json(), item);
    int nextScore = 0;
    out.clear();
    for (Entry entry : entries) {
      while (nextScore < scores.size() && entry.name().isAfter(scores.get(nextScore).name())) {
        out.putFloat(EntryName.of(scores.get(nextScore).name()), scores.get(nextScore++).value());
      }
      switch (entry.kind()) {
        case SHARED -> copyShared(entry.source().feature());
        case ITEM -> out.putFeature(entry.name(), entry.source(), request.json(), item);
        case LABEL -> out.putFloat(entry.name(), label(entry.label(), lesson, state));
        case MASK -> out.putFloat(entry.name(), lesson.teaches(entry.label().index()) ? 1.0f : 0.0f);
        case WAS -> putWas(entry, lesson);
        case OTHERWISE -> putOtherwise(entry, lesson);
        case SAMPLING_RATE -> out.putFloat(entry.name(), samplingRate);
        case REQUEST_ID -> out.putText(entry.name(), request.requestId());
        case ITEM_ID -> out.putText(entry.name(), request.itemIds()[position]);
        case TS -> out.putInteger(entry.name(), request.tsMs());
        case JOINED_TS -> out.putInteger(entry.name(), nowMs);
        case ACTION_TS -> out.putInteger(entry.name(), lesson.actionTsMs());
        case ACTION_LOGGED_TS -> out.putInteger(entry.name(), lesson.actionLoggedTsMs());
      }
    }
    for (Score score : scores.subList(nextScore, scores.size())) {
      out.putFloat(EntryName.of(score.name()), score.value());
    }
    return out.toExample();
  }

  private void share(Request request) {
    if (sharedOf == request) {
      return;
    }
    shared.clear();
    for (Entry entry : entries) {
      if (entry.kind() == Kind.SHARED) {
        int values = entry.source().isOfUser() ? request.user() : request.context();
        sharedPlaces[2 * entry.source().feature()] = shared.size();
        shared.putFeature(entry.name(), entry.source(), request.json(), values);
        sharedPlaces[2 * entry.source().feature() + 1] = shared.size();
      }
    }
    sharedOf = request;
  }

  private void copyShared(int feature) {
    out.copy(shared, sharedPlaces[2 * feature], sharedPlaces[2 * feature + 1]);
  }

  private static float label(Label label, Lesson lesson, State.Waiting state) {
    return lesson.teaches(label.index()) ? lesson.value(label) : label.known(state, lesson.position());
  }

  private void putWas(Entry entry, Lesson lesson) {
    float was = lesson.was(entry.label().index());
    if (!Float.isNaN(was)) {
      out.putFloat(entry.name(), was);
    }
  }

  private void putOtherwise(Entry entry, Lesson lesson) {
    if (entry.label().isNumber() && lesson.isOtherwise(entry.label().index())) {
      out.putFloat(entry.name(), 1.0f);
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

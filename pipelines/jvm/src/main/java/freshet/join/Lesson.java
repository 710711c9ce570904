package freshet.join;

/** What one example teaches of one item. Indexed by label: {@code taken} null: nothing; {@code was} NaN: nothing. */
final class Lesson {
  private final int position;
  private final Taken[] taken;
  private final boolean[] isOtherwise;
  private final float[] was;
  private boolean isEmpty = true;
  private Taken newest;
  private boolean isCorrection;

  Lesson(int position, int labels) {
    this.position = position;
    this.taken = new Taken[labels];
    this.isOtherwise = new boolean[labels];
    this.was = new float[labels];
    java.util.Arrays.fill(was, Float.NaN);
  }

  /** Settles a label by an action; {@code before}: what an earlier example taught, null if none did. */
  void teach(Label label, Taken action, Float before) {
    taken[label.index()] = action.left();
    isEmpty = false;
    if (newest == null || isNewer(action)) {
      newest = action;
    }
    if (before != null) {
      was[label.index()] = before;
      isCorrection = true;
    }
  }

  private boolean isNewer(Taken action) {
    int byTime = Long.compare(action.actionTsMs(), newest.actionTsMs());
    return byTime != 0 ? byTime > 0 : action.loggedTsMs() > newest.loggedTsMs();
  }

  /** Settles a label by the close of its window. */
  void teachOtherwise(Label label) {
    isOtherwise[label.index()] = true;
    isEmpty = false;
  }

  int position() {
    return position;
  }

  boolean isEmpty() {
    return isEmpty;
  }

  boolean hasAction() {
    return newest != null;
  }

  boolean teaches(int label) {
    return taken[label] != null || isOtherwise[label];
  }

  /** What settles a label; null: no action does. */
  Taken taken(int label) {
    return taken[label];
  }

  boolean isOtherwise(int label) {
    return isOtherwise[label];
  }

  /** What it teaches of a label. */
  float value(Label label) {
    return isOtherwise[label.index()] ? label.otherwise() : taken[label.index()].value();
  }

  /** What an earlier example taught of a label, which this one takes back; NaN: nothing. */
  float was(int label) {
    return was[label];
  }

  /** Event time of the newest action behind it; 0: there is none. */
  long actionTsMs() {
    return newest == null ? 0 : newest.actionTsMs();
  }

  /** Kafka timestamp of that action. */
  long actionLoggedTsMs() {
    return newest == null ? 0 : newest.loggedTsMs();
  }

  /** As what such examples are counted. */
  Count count() {
    return isCorrection ? Count.CORRECTIONS : hasAction() ? Count.POSITIVES : Count.NEGATIVES;
  }

  /** The state once the example has left. */
  State.Waiting after(State.Waiting state) {
    State.Waiting after = state;
    for (Taken each : taken) {
      if (each != null) {
        after = after.with(each);
      }
    }
    return after;
  }
}

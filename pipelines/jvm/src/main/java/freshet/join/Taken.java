package freshet.join;

/**
 * The action that a label of an item took, and what it made of the label.
 *
 * @param position of the item in the event
 * @param hasLeft as an example; else it waits for the label's window to close
 */
record Taken(int position, int label, boolean hasLeft, float value, long actionTsMs, long loggedTsMs)
    implements Comparable<Taken> {

  Taken left() {
    return new Taken(position, label, true, value, actionTsMs, loggedTsMs);
  }

  boolean isOf(int otherPosition, int otherLabel) {
    return position == otherPosition && label == otherLabel;
  }

  /** By position and label, which are both unsigned. */
  @Override
  public int compareTo(Taken other) {
    int byPosition = Integer.compareUnsigned(position, other.position);
    return byPosition != 0 ? byPosition : Integer.compareUnsigned(label, other.label);
  }
}

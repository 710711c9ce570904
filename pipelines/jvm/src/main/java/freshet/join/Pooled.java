package freshet.join;

/**
 * An item that was shown.
 *
 * @param json the item as it stood in its event
 * @param shownMs when its request came, by the clock
 */
record Pooled(String itemId, byte[] json, long shownMs) {}

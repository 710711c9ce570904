package freshet.join;

/** BLAKE2b with a digest of 64 bits (RFC 7693): the first is the only word of it that is kept. */
final class Blake2b {
  private static final long[] INITIAL = {
    0x6A09E667F3BCC908L, 0xBB67AE8584CAA73BL, 0x3C6EF372FE94F82BL, 0xA54FF53A5F1D36F1L,
    0x510E527FADE682D1L, 0x9B05688C2B3E6C1FL, 0x1F83D9ABFB41BD6BL, 0x5BE0CD19137E2179L
  };
  private static final byte[][] ORDER = {
    {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15},
    {14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3},
    {11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4},
    {7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8},
    {9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13},
    {2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9},
    {12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11},
    {13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10},
    {6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5},
    {10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0}
  };
  private static final int ROUNDS = 12;
  private static final int BLOCK = 128;
  /** Digest of 8 bytes, no key, fan-out and depth 1. */
  private static final long PARAMETERS = 0x01010008L;

  private final long[] chain = INITIAL.clone();
  private final long[] work = new long[16];
  private final long[] words = new long[16];

  private Blake2b() {
    chain[0] ^= PARAMETERS;
  }

  /** The digest as a number, its first byte the lowest. */
  static long digest(byte[] data) {
    Blake2b hash = new Blake2b();
    int at = 0;
    while (data.length - at > BLOCK) {
      hash.compress(data, at, at + BLOCK, false);
      at += BLOCK;
    }
    hash.compress(data, at, data.length, true);
    return hash.chain[0];
  }

  private void compress(byte[] data, int start, int end, boolean isLast) {
    for (int word = 0; word < words.length; word++) {
      words[word] = word(data, start + 8 * word, end);
    }
    System.arraycopy(chain, 0, work, 0, 8);
    System.arraycopy(INITIAL, 0, work, 8, 8);
    work[12] ^= end;
    work[14] ^= isLast ? -1 : 0;
    for (int round = 0; round < ROUNDS; round++) {
      mixAll(ORDER[round % ORDER.length]);
    }
    for (int word = 0; word < 8; word++) {
      chain[word] ^= work[word] ^ work[word + 8];
    }
  }

  private static long word(byte[] data, int start, int end) {
    long word = 0;
    for (int at = Math.min(start + 8, end) - 1; at >= start; at--) {
      word = word << 8 | data[at] & 0xFF;
    }
    return word;
  }

  private void mixAll(byte[] order) {
    for (int column = 0; column < 4; column++) {
      mix(column, column + 4, column + 8, column + 12, words[order[2 * column]], words[order[2 * column + 1]]);
    }
    for (int column = 0; column < 4; column++) {
      int at = 8 + 2 * column;
      mix(
          column, (column + 1) % 4 + 4, (column + 2) % 4 + 8, (column + 3) % 4 + 12, words[order[at]], words[order[at + 1]]);
    }
  }

  private void mix(int a, int b, int c, int d, long one, long other) {
    work[a] += work[b] + one;
    work[d] = Long.rotateRight(work[d] ^ work[a], 32);
    work[c] += work[d];
    work[b] = Long.rotateRight(work[b] ^ work[c], 24);
    work[a] += work[b] + other;
    work[d] = Long.rotateRight(work[d] ^ work[a], 16);
    work[c] += work[d];
    work[b] = Long.rotateRight(work[b] ^ work[c], 63);
  }
}

package org.nqtflite;

import java.util.Arrays;

/** A precision of a nested model: {@link #FULL}, {@link #PART}, or one of its bit-widths. */
public final class Precision {
    /** All levels: full-bit. */
    public static final Precision FULL = new Precision("full", 0);

    /** Level 0 alone: part-bit. */
    public static final Precision PART = new Precision("part", 0);

    private final String name;
    private final int bits;

    private Precision(String name, int bits) {
        this.name = name;
        this.bits = bits;
    }

    /**
     * A precision by its bits, for models of more than two levels.
     *
     * @param bits 2 to 8
     * @throws IllegalArgumentException for another number
     */
    public static Precision ofBits(int bits) {
        if (bits < 2 || bits > 8) {
            throw new IllegalArgumentException("precision of " + bits + " bits; expected 2 to 8");
        }
        return new Precision(Integer.toString(bits), bits);
    }

    /** The level that gives this precision in a model of these bit-widths, part-bit first. */
    int levelIn(int[] precisions) {
        if (precisions.length == 0) {
            throw new NqException(
                    NqException.NOT_READY, "the model has no nested weights; convert it with nq_tflite to switch its precision");
        }
        if (this == PART) {
            return 0;
        }
        if (this == FULL) {
            return precisions.length - 1;
        }
        int level = Arrays.binarySearch(precisions, bits);
        if (level < 0) {
            throw new NqException(
                    NqException.INVALID_ARGUMENT,
                    "precision of " + bits + " bits; expected one of the model's, " + Arrays.toString(precisions));
        }
        return level;
    }

    /** "full", "part", or the number of bits. */
    @Override
    public String toString() {
        return name;
    }
}

/* BLAKE3 of LANES groups at once, one in each SIMD lane.

   _hashing.h includes this file for each number of lanes, LANES, of which there are 1, 4, 8 and 16.
   Names in capitals stand for names that end in that number: HASH is hash_8 where LANES is 8.

   In memory, a set of LANES groups is rows: the words of a group follow each other.  To compress it
   takes columns: vector w has word w of each group.  What happens in between shows in the bits of
   the flat index of a word.  For blocks of 16 words (bits w) of 8 groups (bits l), in vectors of 8:

       l2 l1 l0 w3 | w2 w1 w0     rows: two vectors for each group
       w3 w2 w1 w0 | l2 l1 l0     columns: a vector for each word

   Interleaving the first half of an array with the second half (`zip` below) moves the first bit
   to the end.  As many zips as there are lane bits make columns of rows; and three zips of the 8
   words of the results, w2 w1 w0 | l2 l1 l0, make rows of them. */

#if LANES == 1
#define TARGET
typedef uint32_t VECTOR;
#define ZIP_LOW(a, b) (a)
#define ZIP_HIGH(a, b) (b)
#else
typedef uint32_t VECTOR __attribute__((vector_size(4 * LANES)));
#endif

#if LANES == 4 /* SSE2 of every x86-64, NEON of every AArch64 */
#define TARGET
#define ZIP_LOW(a, b) SHUFFLE(VECTOR, a, b, 0, 4, 1, 5)
#define ZIP_HIGH(a, b) SHUFFLE(VECTOR, a, b, 2, 6, 3, 7)
#elif LANES == 8
#define TARGET __attribute__((target("avx2")))
#define ZIP_LOW(a, b) SHUFFLE(VECTOR, a, b, 0, 8, 1, 9, 2, 10, 3, 11)
#define ZIP_HIGH(a, b) SHUFFLE(VECTOR, a, b, 4, 12, 5, 13, 6, 14, 7, 15)
#elif LANES == 16
#define TARGET __attribute__((target("avx512f")))
#define ZIP_LOW(a, b) \
    SHUFFLE(VECTOR, a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23)
#define ZIP_HIGH(a, b) \
    SHUFFLE(VECTOR, a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31)
#endif

static TARGET ALWAYS_INLINE VECTOR ROTATE(VECTOR word, int bits)
{
#if LANES == 8 /* AVX2 has no rotation, but moves bytes: 15 % faster */
    typedef uint8_t bytes __attribute__((vector_size(32)));
    const bytes b = (bytes)word;
    if (bits == 16)
        return (VECTOR)SHUFFLE(bytes, b, b, 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13,
                               18, 19, 16, 17, 22, 23, 20, 21, 26, 27, 24, 25, 30, 31, 28, 29);
    if (bits == 8)
        return (VECTOR)SHUFFLE(bytes, b, b, 1, 2, 3, 0, 5, 6, 7, 4, 9, 10, 11, 8, 13, 14, 15, 12,
                               17, 18, 19, 16, 21, 22, 23, 20, 25, 26, 27, 24, 29, 30, 31, 28);
#endif
    return (word >> bits) | (word << (32 - bits));
}

static TARGET ALWAYS_INLINE void MIX(VECTOR *v, int a, int b, int c, int d, VECTOR x, VECTOR y)
{
    v[a] += v[b] + x;
    v[d] = ROTATE(v[d] ^ v[a], 16);
    v[c] += v[d];
    v[b] = ROTATE(v[b] ^ v[c], 12);
    v[a] += v[b] + y;
    v[d] = ROTATE(v[d] ^ v[a], 8);
    v[c] += v[d];
    v[b] = ROTATE(v[b] ^ v[c], 7);
}

static TARGET ALWAYS_INLINE void ROUND(VECTOR *v, const VECTOR *m, const uint8_t *order)
{
    MIX(v, 0, 4, 8, 12, m[order[0]], m[order[1]]);
    MIX(v, 1, 5, 9, 13, m[order[2]], m[order[3]]);
    MIX(v, 2, 6, 10, 14, m[order[4]], m[order[5]]);
    MIX(v, 3, 7, 11, 15, m[order[6]], m[order[7]]);
    MIX(v, 0, 5, 10, 15, m[order[8]], m[order[9]]);
    MIX(v, 1, 6, 11, 12, m[order[10]], m[order[11]]);
    MIX(v, 2, 7, 8, 13, m[order[12]], m[order[13]]);
    MIX(v, 3, 4, 9, 14, m[order[14]], m[order[15]]);
}

/* Mix the words m of a block into the chaining value h; of the block `length` bytes count. */
static TARGET ALWAYS_INLINE void COMPRESS(VECTOR *h, const VECTOR *m, uint32_t length,
                                          uint32_t flags)
{
    const VECTOR zero = {0};
    VECTOR v[16] = {h[0], h[1], h[2], h[3], h[4], h[5], h[6], h[7],
                    zero + IV[0], zero + IV[1], zero + IV[2], zero + IV[3],
                    zero, zero, zero + length, zero + flags};
    ROUND(v, m, ORDER[0]);
    ROUND(v, m, ORDER[1]);
    ROUND(v, m, ORDER[2]);
    ROUND(v, m, ORDER[3]);
    ROUND(v, m, ORDER[4]);
    ROUND(v, m, ORDER[5]);
    ROUND(v, m, ORDER[6]);
    for (int i = 0; i < 8; i++)
        h[i] = v[i] ^ v[i + 8];
}

#if LANES > 1 /* alone, a group needs none of this: see hash_one() */

/* Interleave the first half of `count` vectors with the second half, word by word. */
static TARGET ALWAYS_INLINE void ZIP(VECTOR *vectors, int count)
{
    VECTOR zipped[16];
    for (int i = 0; i < count / 2; i++) {
        zipped[2 * i] = ZIP_LOW(vectors[i], vectors[i + count / 2]);
        zipped[2 * i + 1] = ZIP_HIGH(vectors[i], vectors[i + count / 2]);
    }
    for (int i = 0; i < count; i++)
        vectors[i] = zipped[i];
}

/* The words of a block of each group, where a group has `size` bytes.  The next set is prefetched. */
static TARGET ALWAYS_INLINE void LOAD(VECTOR *m, const uint8_t *block, size_t size)
{
    for (int lane = 0; lane < LANES; lane++) {
        memcpy(m + 16 / LANES * lane, block, BLOCK);
        __builtin_prefetch(block + LANES * size);
        block += size;
    }
    for (int bit = 1; bit < LANES; bit *= 2)
        ZIP(m, 16);
}

/* The last two bytes of each group: all that the last block of a tagged group of even k holds. */
static TARGET ALWAYS_INLINE VECTOR LOAD_TAILS(const uint8_t *groups, size_t size)
{
    uint32_t tails[LANES] = {0};
    VECTOR result;
    for (int lane = 0; lane < LANES; lane++)
        memcpy(tails + lane, groups + (lane + 1) * size - TAG_BYTES, TAG_BYTES);
    memcpy(&result, tails, sizeof result);
    return result;
}

/* The parents of LANES groups.  Reads up to BEFORE bytes before the groups and BEHIND behind. */
static TARGET ALWAYS_INLINE void HASH_SET(const uint8_t *groups, int k, int tagged, uint8_t *out)
{
    const VECTOR zero = {0};
    const int size = NODE * k, tag = tagged ? TAG_BYTES : 0;
    VECTOR tails = zero, h[8];
    if ((tag + size) % BLOCK == TAG_BYTES) /* early, so that nobody waits for it */
        tails = LOAD_TAILS(groups, size);
    for (int i = 0; i < 8; i++)
        h[i] = zero + IV[i];
    for (int start = 0, left = tag + size; left > 0; start += BLOCK, left -= BLOCK) {
        const uint32_t flags = (start ? 0 : CHUNK_START) | (left > BLOCK ? 0 : CHUNK_END | ROOT);
        if (left == TAG_BYTES) { /* the zeros are known to the compiler, which is why this is fast */
            const VECTOR m[16] = {tails};
            COMPRESS(h, m, TAG_BYTES, flags);
            break;
        }
        VECTOR m[16];
        LOAD(m, groups + start - tag, size);
        if (start == 0 && tagged)
            m[0] = (m[0] & 0xffff0000) | ((uint32_t)k << 8 | 0x01);
        if (left < BLOCK) { /* k is odd: 32 bytes, or 34, and zeros */
            m[8] = tagged ? m[8] & 0xffff : zero;
            for (int i = 9; i < 16; i++)
                m[i] = zero;
        }
        COMPRESS(h, m, left < BLOCK ? left : BLOCK, flags);
    }
    ZIP(h, 8);
    ZIP(h, 8);
    ZIP(h, 8);
    memcpy(out, h, sizeof h);
}

/* The parents of `count` groups, set by set.  Of a set in the middle, what is read too much belongs
   to its neighbours; the first and the last set, which may be short, are read from a copy. */
static TARGET void HASH(const uint8_t *groups, size_t count, int k, int tagged, uint8_t *out)
{
    const size_t size = (size_t)NODE * k;
    uint8_t copy[BEFORE + LANES * CHUNK + BEHIND], parents[LANES * NODE];
    for (size_t done = 0; done < count; done += LANES) {
        const uint8_t *set = groups + done * size;
        if (done == 0 || count - done <= LANES) {
            const size_t some = count - done < LANES ? count - done : LANES;
            memset(copy, 0, BEFORE + LANES * size + BEHIND);
            memcpy(copy + BEFORE, set, some * size);
            HASH_SET(copy + BEFORE, k, tagged, parents);
            memcpy(out + done * NODE, parents, some * NODE);
        } else {
            HASH_SET(set, k, tagged, out + done * NODE);
        }
    }
}

#endif

#undef LANES
#undef TARGET
#undef ZIP_LOW
#undef ZIP_HIGH

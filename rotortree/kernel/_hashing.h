/* The bulk-hash kernel: BLAKE3 of many groups of nodes at once, one group in each SIMD lane.

   A group is k children of 32 bytes, and groups lie side by side.  The parent of a group is the
   BLAKE3 hash of its children, tagged (scheme "blake3") with a byte 0x01 and a byte k before them,
   or as they are ("blake3-plain").  Only messages of one BLAKE3 chunk, 1024 bytes, are hashed here:
   a chunk is a chain of compressions, each of which mixes a block of 64 bytes into 8 words.

       children     0      32      64      96      128              k = 4
       plain        [    block 0   ][    block 1   ]
       tagged   01 k[  block 0   ][    block 1   ][ ]                 the last block: 2 bytes

   So the blocks of tagged groups begin two bytes before where they would begin without a tag.  The
   first one reads two bytes of what lies before the group and puts the tag over them.

   What hashes a set of groups is in _lanes.h, which is compiled here for 1, 4, 8 and 16 lanes.  What
   it needs comes before it; after it comes what one group needs, which has no lanes to fill. */

#ifndef __GNUC__
#error "The kernel needs the vector extensions of GCC or Clang; the package works without it."
#elif __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "The kernel needs a little-endian machine; the package works without it."
#endif

#include <stddef.h>
#include <stdint.h>
#include <string.h>
#ifdef __x86_64__
#include <immintrin.h>
#endif

enum {
    NODE = 32,  /* bytes of a child and of a parent */
    BLOCK = 64, /* bytes that BLAKE3 compresses at a time */
    CHUNK = 1024, /* bytes of the longest message */
    TAG_BYTES = 2,
    BEFORE = TAG_BYTES,
    BEHIND = BLOCK - NODE,
    CHUNK_START = 1, /* the three flags of BLAKE3 that occur */
    CHUNK_END = 2,
    ROOT = 8,
};

static const uint32_t IV[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                               0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};

/* Which words of the block a round mixes, in order. */
static const uint8_t ORDER[7][16] = {{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15},
                                     {2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8},
                                     {3, 4, 10, 12, 13, 2, 7, 14, 6, 5, 9, 0, 11, 15, 8, 1},
                                     {10, 7, 12, 9, 14, 3, 13, 15, 4, 0, 11, 2, 5, 8, 1, 6},
                                     {12, 13, 9, 11, 15, 10, 14, 8, 7, 2, 5, 3, 0, 1, 6, 4},
                                     {9, 14, 11, 5, 8, 12, 15, 1, 13, 3, 0, 10, 2, 6, 4, 7},
                                     {11, 15, 5, 0, 1, 9, 8, 6, 14, 10, 2, 12, 3, 4, 7, 13}};

#define ALWAYS_INLINE inline __attribute__((always_inline))
#ifdef __clang__
#define SHUFFLE(type, a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define SHUFFLE(type, a, b, ...) __builtin_shuffle(a, b, (type){__VA_ARGS__})
#endif

#define JOIN(name, lanes) name##_##lanes
#define WITH_LANES(name, lanes) JOIN(name, lanes)
#define VECTOR WITH_LANES(vector, LANES)
#define ROTATE WITH_LANES(rotate, LANES)
#define MIX WITH_LANES(mix, LANES)
#define ROUND WITH_LANES(round, LANES)
#define COMPRESS WITH_LANES(compress, LANES)
#define ZIP WITH_LANES(zip, LANES)
#define LOAD WITH_LANES(load, LANES)
#define LOAD_TAILS WITH_LANES(load_tails, LANES)
#define HASH_SET WITH_LANES(hash_set, LANES)
#define HASH WITH_LANES(hash, LANES)

#define LANES 1
#include "_lanes.h"
#define LANES 4
#include "_lanes.h"
#ifdef __x86_64__
#define LANES 8
#include "_lanes.h"
#define LANES 16
#include "_lanes.h"
#endif

/* Whether this machine can run the body of so many lanes, of those above 1. */
static int machine_has(long lanes)
{
#ifdef __x86_64__
    __builtin_cpu_init();
    if (lanes == 8)
        return __builtin_cpu_supports("avx2") != 0;
    if (lanes == 16)
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl");
#endif
    return lanes == 4;
}

#ifdef __x86_64__
/* Mix blocks of two groups into their chaining values, with AVX-512, which rotates words.  The
   state of each is four rows of four words, so that the four MIXes of half a round are one; in
   between, rows turn against each other, b excepted, which is known last.  A row of one group and
   that of the other are one vector.  Instructions wait for each other here: for both groups that
   takes no longer than for one, and for one a sixth less than scalar code; without rotations of
   vectors it would take more. */
#define ALONE __attribute__((target("avx512f,avx512vl")))

static ALONE ALWAYS_INLINE vector_8 turned(vector_8 rows, int bits)
{
    return (rows >> bits) | (rows << (32 - bits));
}

/* Half a round; m has the words to be mixed in: those for x of either group, then those for y. */
static ALONE ALWAYS_INLINE void mix_rows(vector_8 *v, vector_16 m)
{
    vector_8 words[2];
    memcpy(words, &m, sizeof words);
    v[0] = v[0] + words[0] + v[1];
    v[3] = turned(v[3] ^ v[0], 16);
    v[2] += v[3];
    v[1] = turned(v[1] ^ v[2], 12);
    v[0] = v[0] + words[1] + v[1];
    v[3] = turned(v[3] ^ v[0], 8);
    v[2] += v[3];
    v[1] = turned(v[1] ^ v[2], 7);
}

static ALONE ALWAYS_INLINE void compress_rows(vector_8 *v, vector_16 a, vector_16 b)
{
    /* the words of both blocks, for either half of a round */
    vector_16 m = SHUFFLE(vector_16, a, b, 0, 2, 4, 6, 16, 18, 20, 22,
                        1, 3, 5, 7, 17, 19, 21, 23);
    vector_16 n = SHUFFLE(vector_16, a, b, 14, 8, 10, 12, 30, 24, 26, 28,
                        15, 9, 11, 13, 31, 25, 27, 29);
    for (int round = 0; round < 7; round++) {
        mix_rows(v, m);
        v[0] = SHUFFLE(vector_8, v[0], v[0], 3, 0, 1, 2, 7, 4, 5, 6);
        v[2] = SHUFFLE(vector_8, v[2], v[2], 1, 2, 3, 0, 5, 6, 7, 4);
        v[3] = SHUFFLE(vector_8, v[3], v[3], 2, 3, 0, 1, 6, 7, 4, 5);
        mix_rows(v, n);
        v[0] = SHUFFLE(vector_8, v[0], v[0], 1, 2, 3, 0, 5, 6, 7, 4);
        v[2] = SHUFFLE(vector_8, v[2], v[2], 3, 0, 1, 2, 7, 4, 5, 6);
        v[3] = SHUFFLE(vector_8, v[3], v[3], 2, 3, 0, 1, 6, 7, 4, 5);
        /* the order of the next round */
        const vector_16 both = SHUFFLE(vector_16, m, n, 1, 9, 11, 2, 5, 13, 15, 6,
                        3, 18, 0, 27, 7, 22, 4, 31);
        n = SHUFFLE(vector_16, m, n, 24, 8, 19, 25, 28, 12, 23, 29,
                        17, 26, 10, 16, 21, 30, 14, 20);
        m = both;
    }
}
#endif

/* One group.  Child `place` need not lie among the others: it is `apart`.  There is none that is,
   if place == k. */
typedef struct {
    const uint8_t *children, *apart;
    int k, place, tagged;
} Group;

static ALWAYS_INLINE int message_bytes(Group group)
{
    return (group.tagged ? TAG_BYTES : 0) + group.k * NODE;
}

static ALWAYS_INLINE int message_blocks(Group group)
{
    return (message_bytes(group) + BLOCK - 1) / BLOCK;
}

/* A child, or zeros if there are not so many. */
static ALWAYS_INLINE const uint8_t *child(Group group, int number)
{
    static const uint8_t zeros[NODE];
    const uint8_t *found = group.children + (number - (number > group.place)) * NODE;
    found = number == group.place ? group.apart : found;
    return number < group.k ? found : zeros;
}

/* The two bytes before child `number` of a tagged group. */
static ALWAYS_INLINE uint32_t bytes_before(Group group, int number)
{
    uint16_t bytes;
    if (number == 0)
        return (uint32_t)group.k << 8 | 0x01;
    memcpy(&bytes, child(group, number - 1) + NODE - TAG_BYTES, TAG_BYTES);
    return bytes;
}

/* Block `number` of a group's message: two children, or the same two bytes later.  The last child
   was often written a moment ago, and what is loaded as it was stored need not wait for the cache;
   so it is here, in registers, that children move by two bytes. */
static ALWAYS_INLINE void load_block(uint32_t *m, Group group, int number)
{
    uint32_t words[16];
    memcpy(words, child(group, 2 * number), NODE);
    memcpy(words + 8, child(group, 2 * number + 1), NODE);
    if (!group.tagged) {
        memcpy(m, words, sizeof words);
        return;
    }
    m[0] = words[0] << 16 | bytes_before(group, 2 * number);
    for (int i = 1; i < 16; i++)
        m[i] = words[i] << 16 | words[i - 1] >> 16;
}

#ifdef __x86_64__
static ALONE ALWAYS_INLINE vector_16 load_block_rows(Group group, int number)
{
    vector_8 first, second;
    memcpy(&first, child(group, 2 * number), NODE);
    memcpy(&second, child(group, 2 * number + 1), NODE);
    const vector_16 words = (vector_16)_mm512_inserti64x4(
        _mm512_castsi256_si512((__m256i)first), (__m256i)second, 1);
    if (!group.tagged)
        return words;
    vector_16 before = SHUFFLE(vector_16, words, words, 15, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11,
                               12, 13, 14) >> 16;
    before[0] = bytes_before(group, 2 * number);
    return words << 16 | before;
}
#endif

static ALWAYS_INLINE uint32_t block_flags(int number, int left)
{
    return (number ? 0 : CHUNK_START) | (left > BLOCK ? 0 : CHUNK_END | ROOT);
}

#ifdef __x86_64__
/* Mix a block of each of two groups into their chaining values h: rows, as above. */
static ALONE ALWAYS_INLINE void mix_blocks(vector_8 *h, Group a, int block_a, Group b, int block_b)
{
    const uint32_t left_a = message_bytes(a) - block_a * BLOCK;
    const uint32_t left_b = message_bytes(b) - block_b * BLOCK;
    vector_8 v[4] = {h[0], h[1],
                     {IV[0], IV[1], IV[2], IV[3], IV[0], IV[1], IV[2], IV[3]},
                     {0, 0, left_a < BLOCK ? left_a : BLOCK, block_flags(block_a, left_a),
                      0, 0, left_b < BLOCK ? left_b : BLOCK, block_flags(block_b, left_b)}};
    compress_rows(v, load_block_rows(a, block_a), load_block_rows(b, block_b));
    h[0] = v[0] ^ v[2];
    h[1] = v[1] ^ v[3];
}

/* Rows of two chaining values, from these values. */
static ALONE ALWAYS_INLINE void load_rows(vector_8 *rows, const uint32_t *a, const uint32_t *b)
{
    vector_8 h, g;
    memcpy(&h, a, sizeof h);
    memcpy(&g, b, sizeof g);
    rows[0] = SHUFFLE(vector_8, h, g, 0, 1, 2, 3, 8, 9, 10, 11);
    rows[1] = SHUFFLE(vector_8, h, g, 4, 5, 6, 7, 12, 13, 14, 15);
}

/* Back again, each in one piece, as children are loaded: halves would have to reach the cache. */
static ALONE ALWAYS_INLINE void store_rows(const vector_8 *rows, void *a, void *b)
{
    const vector_8 h = SHUFFLE(vector_8, rows[0], rows[1], 0, 1, 2, 3, 8, 9, 10, 11);
    const vector_8 g = SHUFFLE(vector_8, rows[0], rows[1], 4, 5, 6, 7, 12, 13, 14, 15);
    memcpy(a, &h, sizeof h);
    memcpy(b, &g, sizeof g);
}

static ALONE void compress_blocks_rows(const uint32_t *h, Group group, int first, int last,
                                       uint8_t *out)
{
    vector_8 rows[2];
    uint8_t same[NODE];
    load_rows(rows, h, h);
    for (int number = first; number < last; number++)
        mix_blocks(rows, group, number, group, number);
    store_rows(rows, out, same);
}
#endif

/* Mix blocks [first, last) of a group's message into the chaining value h, which becomes `out`. */
static void compress_blocks(const uint32_t *h, Group group, int first, int last, long lanes,
                            uint8_t *out)
{
#ifdef __x86_64__
    if (lanes == 16) {
        compress_blocks_rows(h, group, first, last, out);
        return;
    }
#endif
    uint32_t value[8], m[16];
    memcpy(value, h, sizeof value);
    for (int number = first; number < last; number++) {
        const int left = message_bytes(group) - number * BLOCK;
        load_block(m, group, number);
        compress_1(value, m, left < BLOCK ? left : BLOCK, block_flags(number, left));
    }
    memcpy(out, value, sizeof value);
    (void)lanes;
}

/* The parent of k children that follow each other. */
static void hash_one(const uint8_t *children, int k, int tagged, long lanes, uint8_t *out)
{
    const Group group = {children, NULL, k, k, tagged};
    compress_blocks(IV, group, 0, message_blocks(group), lanes, out);
}

/* The parents of `count` groups.  Requires count > 0 and machine_has(lanes). */
static void hash(const uint8_t *groups, size_t count, int k, int tagged, long lanes, uint8_t *out)
{
    if (count == 1)
        hash_one(groups, k, tagged, lanes, out);
#ifdef __x86_64__
    else if (lanes == 16)
        hash_16(groups, count, k, tagged, out);
    else if (lanes == 8)
        hash_8(groups, count, k, tagged, out);
#endif
    else
        hash_4(groups, count, k, tagged, out);
}

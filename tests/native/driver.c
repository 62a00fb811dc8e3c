/* Hashes the cases on standard input with every number of lanes, and in blocks, and compares: see
   test_driver.py.

   A case is four little-endian 32-bit numbers (k, tagged, groups, 0), the children and the parents.
   The output names each case that is wrong, and says at last how many there were. */

#include "../../rotortree/kernel/_hashing.h"

#include <stdio.h>
#include <stdlib.h>

/* So many bytes of the input, in memory of exactly that size; NULL where the input ends. */
static uint8_t *next(size_t size)
{
    uint8_t *bytes = malloc(size);
    if (bytes == NULL || fread(bytes, 1, size, stdin) != size) {
        free(bytes);
        return NULL;
    }
    return bytes;
}

/* A copy in memory of exactly that size. */
static uint8_t *copied(const uint8_t *bytes, size_t size)
{
    uint8_t *copy = malloc(size);
    if (copy == NULL)
        exit(2);
    memcpy(copy, bytes, size);
    return copy;
}

/* The parent of one group whose last child is elsewhere, and whose other blocks are done first. */
static void hash_in_blocks(const uint8_t *children, int k, int tagged, long lanes, uint8_t *parent)
{
    uint8_t *first = copied(children, (size_t)NODE * (k - 1));
    uint8_t *last = copied(children + (size_t)NODE * (k - 1), NODE);
    const Group group = {first, last, k, k - 1, tagged};
    const int fixed = (message_bytes(group) - NODE) / BLOCK;
    uint32_t h[8];
    compress_blocks(IV, group, 0, fixed, lanes, (uint8_t *)h);
    compress_blocks(h, group, fixed, message_blocks(group), lanes, parent);
    free(first);
    free(last);
}

/* Whether parents by so many lanes, together or alone, are not those that are expected. */
static int wrong(const uint32_t *header, const uint8_t *children, const uint8_t *expected, long lanes,
                 int alone)
{
    const size_t k = header[0], groups = header[2];
    uint8_t *out = malloc(NODE * groups);
    if (out == NULL)
        return 1;
    if (!alone)
        hash(children, groups, k, header[1], lanes, out);
    else
        for (size_t i = 0; i < groups; i++)
            hash_in_blocks(children + NODE * k * i, k, header[1], lanes, out + NODE * i);
    const int differ = memcmp(out, expected, NODE * groups) != 0;
    if (differ)
        printf("%ld lanes%s: %u groups of %u are wrong\n", lanes, alone ? ", alone" : "", header[2],
               header[0]);
    free(out);
    return differ;
}

int main(void)
{
    uint32_t *header;
    long cases = 0;
    int failed = 0;
    while ((header = (uint32_t *)next(16)) != NULL) {
        uint8_t *children = next((size_t)NODE * header[0] * header[2]);
        uint8_t *expected = next((size_t)NODE * header[2]);
        if (children == NULL || expected == NULL)
            return 2;
        for (long lanes = 4; lanes <= 16; lanes *= 2)
            if (machine_has(lanes))
                failed |= wrong(header, children, expected, lanes, 0) |
                          wrong(header, children, expected, lanes, 1);
        free(children);
        free(expected);
        free(header);
        cases++;
    }
    printf("%ld cases\n", cases);
    return failed;
}

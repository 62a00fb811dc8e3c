/* Hashes the cases on standard input with every number of lanes, and compares: see test_driver.py.

   A case is four little-endian 32-bit numbers (k, tagged, groups, 0), the children and the parents.
   The output names each case that is wrong, and says at last how many there were. */

#define WITHOUT_PYTHON
#include "../../rotortree/_native.c"

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

static int wrong(const uint32_t *header, const uint8_t *children, const uint8_t *expected, long lanes)
{
    const size_t size = (size_t)NODE * header[2];
    uint8_t *out = malloc(size);
    if (out == NULL)
        return 1;
    hash(children, header[2], header[0], header[1], lanes, out);
    const int differ = memcmp(out, expected, size) != 0;
    if (differ)
        printf("%ld lanes: %u groups of %u are wrong\n", lanes, header[2], header[0]);
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
            failed |= machine_has(lanes) && wrong(header, children, expected, lanes);
        free(children);
        free(expected);
        free(header);
        cases++;
    }
    printf("%ld cases\n", cases);
    return failed;
}

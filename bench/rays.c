/* Question: a tree that is built anew for every frame. A ray tracer moves `spheres` spheres, builds
 * a tree of boxes over them, a node at a time, and sends a ray through each pixel; the hits of a ray
 * are a sorted list of nodes that lives as long as the ray.
 *
 * `frames` frames of `side` x `side` pixels; the check value counts what the rays met. */
#include "bench.h"
#include "peer.h"

enum { SPHERES_MAX = 1 << 16, LEAF = 4 };

typedef struct sphere {
    double at[3], radius;
    uint32_t color;
} sphere;

typedef struct node {
    double low[3], high[3];
    struct node *children[2];
    sphere *spheres; // of a leaf: a block of its own
    uint32_t count;
} node;

typedef struct hit {
    struct hit *next;
    double distance;
    uint32_t color;
} hit;

static int axis; // by which spheres are ordered

static int sphere_order(const void *a, const void *b) {
    double x = ((const sphere *)a)->at[axis], y = ((const sphere *)b)->at[axis];
    return (x > y) - (x < y);
}

static void box_of(node *n, const sphere *spheres, size_t count) {
    for (int i = 0; i < 3; i++) {
        n->low[i] = 1e9;
        n->high[i] = -1e9;
        for (size_t s = 0; s < count; s++) {
            double low = spheres[s].at[i] - spheres[s].radius;
            double high = spheres[s].at[i] + spheres[s].radius;
            if (low < n->low[i]) n->low[i] = low;
            if (high > n->high[i]) n->high[i] = high;
        }
    }
}

static node *tree_build(sphere *spheres, size_t count, int depth) {
    node *n = BENCH_MALLOC(node);
    *n = (node){0};
    box_of(n, spheres, count);
    if (count <= LEAF) {
        n->count = (uint32_t)count;
        n->spheres = bench_malloc(count * sizeof(sphere));
        memcpy(n->spheres, spheres, count * sizeof(sphere));
        return n;
    }
    axis = depth % 3;
    qsort(spheres, count, sizeof *spheres, sphere_order);
    n->children[0] = tree_build(spheres, count / 2, depth + 1);
    n->children[1] = tree_build(spheres + count / 2, count - count / 2, depth + 1);
    return n;
}

static void tree_free(node *n) {
    if (!n) return;
    tree_free(n->children[0]);
    tree_free(n->children[1]);
    bench_free(n->spheres);
    BENCH_FREE(node, n);
}

// Rays run along the third axis, so a box is met where the first two coordinates lie within it.
static hit *tree_trace(const node *n, double x, double y, hit *hits) {
    if (x < n->low[0] || x > n->high[0] || y < n->low[1] || y > n->high[1]) return hits;
    for (uint32_t i = 0; i < n->count; i++) {
        const sphere *s = &n->spheres[i];
        double dx = x - s->at[0], dy = y - s->at[1];
        if (dx * dx + dy * dy > s->radius * s->radius) continue;
        hit *h = BENCH_MALLOC(hit);
        h->distance = s->at[2];
        h->color = s->color;
        hit **at = &hits;
        while (*at && (*at)->distance < h->distance) at = &(*at)->next;
        h->next = *at;
        *at = h;
    }
    for (int i = 0; i < 2; i++)
        if (n->children[i]) hits = tree_trace(n->children[i], x, y, hits);
    return hits;
}

// Half of the light is the nearest sphere's, half of what is left the next one's, and so on.
static uint64_t shade(hit *hits) {
    uint64_t color = 0, weight = 1 << 16;
    while (hits) {
        hit *next = hits->next;
        weight /= 2;
        color += weight * hits->color;
        BENCH_FREE(hit, hits);
        hits = next;
    }
    return color >> 16;
}

int main(int argc, char **argv) {
    static sphere spheres[SPHERES_MAX];
    size_t count = (size_t)bench_option(argc, argv, "spheres", 20000);
    long frames = bench_option(argc, argv, "frames", 10),
         side = bench_option(argc, argv, "side", 200);
    uint64_t seed = 5, check = 0;
    if (count > SPHERES_MAX) return 1;
    for (size_t i = 0; i < count; i++) {
        for (int k = 0; k < 3; k++) spheres[i].at[k] = (double)bench_below(&seed, 1 << 20) / 1024;
        spheres[i].radius = 8 + (double)bench_below(&seed, 16);
        spheres[i].color = (uint32_t)bench_below(&seed, 256);
    }
    for (long f = 0; f < frames; f++) {
        node *tree = tree_build(spheres, count, 0);
        for (long i = 0; i < side * side; i++) {
            double x = 1024.0 * (double)(i % side) / (double)side;
            double y = 1024.0 * (double)(i / side) / (double)side;
            check += shade(tree_trace(tree, x, y, NULL));
        }
        tree_free(tree);
        for (size_t i = 0; i < count; i++) spheres[i].at[0] += (double)bench_below(&seed, 9) - 4;
    }
    return bench_finish(check);
}

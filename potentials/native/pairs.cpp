// The pairs within the cutoff out of longer lists that are in canonical order and hold each pair from both ends.

#include <cstdint>

extern "C" {

// Gives each of E pairs its place among those nearer than the root of `limit`, or -1; returns how many there are. A pair
// and its reverse share one number, so that both are in or out. `smallest` is the least squared distance of all.
int64_t mark_pairs(int64_t edges, const int64_t *neighbour, const int64_t *centre, const double *shift,
                   const int64_t *reverse, const int64_t *owner, const double *positions, const double *cells,
                   double limit, int64_t *place, double *smallest) {
    int64_t kept = 0;
    double least = 1e300;
    for (int64_t e = 0; e < edges; ++e) {
        bool near;
        if (reverse[e] > e) {
            const double *from = positions + 3 * centre[e], *to = positions + 3 * neighbour[e];
            const double *cell = cells + 9 * owner[centre[e]], *s = shift + 3 * e;
            double squared = 0;
            for (int k = 0; k < 3; ++k) {
                const double image = s[0] * cell[k] + s[1] * cell[3 + k] + s[2] * cell[6 + k];
                const double component = to[k] - from[k] + image;
                squared += component * component;
            }
            least = squared < least ? squared : least;
            near = squared < limit;
        } else {
            near = place[reverse[e]] >= 0;
        }
        place[e] = near ? kept++ : -1;
    }
    *smallest = least;
    return kept;
}

// Fills edge_index [2, K] (neighbour, centre), near_shift [K, 3] and near_reverse [K] of the pairs that have a place.
void take_pairs(int64_t edges, int64_t kept, const int64_t *neighbour, const int64_t *centre, const double *shift,
                const int64_t *reverse, const int64_t *place, int64_t *edge_index, double *near_shift,
                int64_t *near_reverse) {
    for (int64_t e = 0; e < edges; ++e) {
        const int64_t here = place[e];
        if (here < 0) continue;
        edge_index[here] = neighbour[e];
        edge_index[kept + here] = centre[e];
        near_reverse[here] = place[reverse[e]];
        for (int k = 0; k < 3; ++k) near_shift[3 * here + k] = shift[3 * e + k];
    }
}
}

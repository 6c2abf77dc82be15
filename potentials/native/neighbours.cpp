// Neighbour lists of many small structures at once, in the canonical order: by centre, neighbour and shift.
//
// Every pair of atoms is looked at; for each, only those images whose lattice planes are near enough. The number computed
// for a pair is that of its reverse, for all of it changes sign with the shift, so lists are symmetric at the cutoff.

#include <cmath>
#include <cstdint>
#include <vector>

namespace {

struct Found {
    std::vector<int64_t> centre, neighbour, reverse;
    std::vector<int64_t> shift;
};

thread_local Found found;

constexpr double HAIR = 1e-9;  // relative and absolute: the exact selection is by the distance

struct Lattice {
    double cell[3][3];     // rows are vectors; those of open directions are unit vectors across the others
    double inverse[3][3];  // fractional = position · inverse
    double reach[3];       // cutoff in units of the spacing of lattice planes; below 0 for open directions
};

double dot(const double *a, const double *b) { return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]; }

void cross(const double *a, const double *b, double *out) {
    out[0] = a[1] * b[2] - a[2] * b[1];
    out[1] = a[2] * b[0] - a[0] * b[2];
    out[2] = a[0] * b[1] - a[1] * b[0];
}

bool scaled_to_one(double *vector) {
    const double length = std::sqrt(dot(vector, vector));
    if (!(length > 1e-6)) return false;
    for (int k = 0; k < 3; ++k) vector[k] /= length;
    return true;
}

// False where the repeating vectors are none, too short or in one plane: somebody else has words for that.
bool make_lattice(const double *given, const uint8_t *pbc, double cutoff, Lattice &lattice) {
    std::vector<int> periodic, open;
    for (int row = 0; row < 3; ++row) {
        for (int k = 0; k < 3; ++k) {
            if (!std::isfinite(given[3 * row + k])) return false;
            lattice.cell[row][k] = given[3 * row + k];
        }
        (pbc[row] ? periodic : open).push_back(row);
    }
    if (periodic.empty()) {
        for (int row = 0; row < 3; ++row)
            for (int k = 0; k < 3; ++k) lattice.cell[row][k] = row == k;
    } else if (periodic.size() == 1) {
        double axis[3], other[3] = {0, 0, 0};
        for (int k = 0; k < 3; ++k) axis[k] = lattice.cell[periodic[0]][k];
        if (!scaled_to_one(axis)) return false;
        int least = 0;
        for (int k = 1; k < 3; ++k)
            if (std::fabs(axis[k]) < std::fabs(axis[least])) least = k;
        other[least] = 1;
        cross(axis, other, lattice.cell[open[0]]);
        if (!scaled_to_one(lattice.cell[open[0]])) return false;
        cross(axis, lattice.cell[open[0]], lattice.cell[open[1]]);
    } else if (periodic.size() == 2) {
        cross(lattice.cell[periodic[0]], lattice.cell[periodic[1]], lattice.cell[open[0]]);
        if (!scaled_to_one(lattice.cell[open[0]])) return false;
    }
    double volume_of_directions = 1, columns[3][3];
    for (int row = 0; row < 3; ++row) cross(lattice.cell[(row + 1) % 3], lattice.cell[(row + 2) % 3], columns[row]);
    const double volume = dot(lattice.cell[0], columns[0]);
    for (int row = 0; row < 3; ++row) volume_of_directions *= std::sqrt(dot(lattice.cell[row], lattice.cell[row]));
    if (!(std::fabs(volume) > 1e-6 * volume_of_directions) || !(volume_of_directions > 1e-18)) return false;
    for (int row = 0; row < 3; ++row) {
        for (int k = 0; k < 3; ++k) lattice.inverse[k][row] = columns[row][k] / volume;
        lattice.reach[row] = pbc[row] ? cutoff * std::sqrt(dot(columns[row], columns[row])) / std::fabs(volume) : -1;
    }
    return true;
}

// Edges of one structure behind those found so far; false where it is to be told by somebody else.
bool add_structure(int64_t offset, int64_t atoms, const double *positions, const Lattice &lattice, double cutoff,
                   double coincident) {
    const double limit = cutoff * cutoff;
    std::vector<double> fractional(3 * atoms);
    for (int64_t i = 0; i < atoms; ++i) {
        for (int k = 0; k < 3; ++k) {
            const double *r = positions + 3 * i;
            if (!std::isfinite(r[k])) return false;
            fractional[3 * i + k] =
                r[0] * lattice.inverse[0][k] + r[1] * lattice.inverse[1][k] + r[2] * lattice.inverse[2][k];
        }
    }
    std::vector<int64_t> begin(atoms * atoms + 1);
    for (int64_t i = 0; i < atoms; ++i) {
        for (int64_t j = 0; j < atoms; ++j) {
            begin[i * atoms + j] = static_cast<int64_t>(found.centre.size());
            double between[3];
            int64_t low[3], high[3];
            for (int k = 0; k < 3; ++k) {
                between[k] = positions[3 * j + k] - positions[3 * i + k];
                const double reach = lattice.reach[k] * (1 + HAIR) + HAIR;
                const double apart = fractional[3 * j + k] - fractional[3 * i + k];
                low[k] = lattice.reach[k] < 0 ? 0 : static_cast<int64_t>(std::ceil(-reach - apart));
                high[k] = lattice.reach[k] < 0 ? 0 : static_cast<int64_t>(std::floor(reach - apart));
            }
            for (int64_t a = low[0]; a <= high[0]; ++a)
                for (int64_t b = low[1]; b <= high[1]; ++b)
                    for (int64_t c = low[2]; c <= high[2]; ++c) {
                        if (i == j && !a && !b && !c) continue;
                        double squared = 0;
                        for (int k = 0; k < 3; ++k) {
                            const double image =
                                a * lattice.cell[0][k] + b * lattice.cell[1][k] + c * lattice.cell[2][k];
                            const double component = between[k] + image;
                            squared += component * component;
                        }
                        if (!(squared < limit)) continue;
                        if (squared < coincident * coincident) return false;
                        found.centre.push_back(offset + i);
                        found.neighbour.push_back(offset + j);
                        found.shift.push_back(a);
                        found.shift.push_back(b);
                        found.shift.push_back(c);
                    }
        }
    }
    begin[atoms * atoms] = static_cast<int64_t>(found.centre.size());
    // shifts of (j, i) are those of (i, j) with the other sign, so in the opposite order
    for (int64_t i = 0; i < atoms; ++i)
        for (int64_t j = 0; j < atoms; ++j) {
            const int64_t first = begin[i * atoms + j], count = begin[i * atoms + j + 1] - first;
            const int64_t back = begin[j * atoms + i];
            if (begin[j * atoms + i + 1] - back != count) return false;
            for (int64_t k = 0; k < count; ++k) found.reverse.push_back(back + count - 1 - k);
        }
    return true;
}

}  // namespace

extern "C" {

// Finds the pairs of all structures; first_edge [S + 1] is filled. Returns -1, or the structure that it does not do.
int64_t find_neighbours(int64_t structures, const int64_t *first_atom, const double *positions, const double *cells,
                        const uint8_t *pbc, double cutoff, double coincident, int64_t *first_edge) {
    found.centre.clear();
    found.neighbour.clear();
    found.reverse.clear();
    found.shift.clear();
    first_edge[0] = 0;
    for (int64_t s = 0; s < structures; ++s) {
        Lattice lattice;
        const int64_t offset = first_atom[s], atoms = first_atom[s + 1] - offset;
        if (!make_lattice(cells + 9 * s, pbc + 3 * s, cutoff, lattice) ||
            !add_structure(offset, atoms, positions + 3 * offset, lattice, cutoff, coincident))
            return s;
        first_edge[s + 1] = static_cast<int64_t>(found.centre.size());
    }
    return -1;
}

// What the last call of this thread has found: edge_index [2, E] (neighbour, centre), shift [E, 3], reverse [E].
void take_neighbours(int64_t *edge_index, double *shift, int64_t *reverse) {
    const size_t edges = found.centre.size();
    for (size_t e = 0; e < edges; ++e) {
        edge_index[e] = found.neighbour[e];
        edge_index[edges + e] = found.centre[e];
        reverse[e] = found.reverse[e];
        for (int k = 0; k < 3; ++k) shift[3 * e + k] = static_cast<double>(found.shift[3 * e + k]);
    }
}
}

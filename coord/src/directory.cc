#include <godwit/coord/directory.h>

#include "directory_impl.h"

namespace godwit::coord {

Directory::Directory(Coordinator& coordinator, std::string root)
    : impl_(std::make_shared<Impl>(coordinator, std::move(root))) {}
Directory::~Directory() = default;

}  // namespace godwit::coord

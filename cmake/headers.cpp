// Its precompiled headers are those of all libraries (StagecoachTargets.cmake).
